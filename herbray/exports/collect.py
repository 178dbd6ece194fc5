"""Collects opinions from a list of suspects and from verdicts, about sheets that still have the name in question."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.exports.batch import Opinion, Sheet, derive_id
from herbray.verdicts.judgements import Judgement, Key, judge

SHEET: Final = (*schema.SPECIMEN.names, "image")
"""The columns of a sheet."""

GONE: Final = "the sheet is not in the collection"
RENAMED: Final = "the sheet has another name by now"
ELSEWHERE: Final = "the sheet is in another herbarium"
DECIDED: Final = "reviewers have decided on this suggestion"


@dataclass(frozen=True)
class Machine:
    """Who makes suggestions, and when.

    Attributes:
        name: of software and encoder, for people.
        fingerprint: of the encoder.
        at: ISO 8601 in UTC.
    """

    name: str
    fingerprint: str
    at: str


def collect(
    suspects: pa.Table, verdicts: pa.Table, sheets: pa.Table, machine: Machine, institution: str | None = None
) -> tuple[list[Opinion], Counter[str]]:
    """Collect what is said about the names that sheets have now.

    A suggestion on which a reviewer has decided gives way to the verdict. Withdrawn verdicts are no opinions.

    Args:
        suspects: `schema.SUSPECT`.
        verdicts: `schema.VERDICT`, the oldest first.
        sheets: `schema.SPECIMEN`, and `image` if it is known.
        machine: that made the suggestions.
        institution: only sheets of this herbarium; None: all.

    Returns:
        The opinions, and reason → number of suggestions and verdicts that were left out.
    """
    judgements = judge(verdicts)
    wanted = {*suspects["specimen_id"].to_pylist(), *(key[0] for key in judgements)}
    known = read_sheets(sheets, wanted)
    left_out: Counter[str] = Counter()
    opinions = []
    for opinion, key in (*_read_suspects(suspects, known, machine), *_read_judgements(judgements, known)):
        decided = opinion.is_machine and key in judgements and judgements[key].verdict in ("wrong", "right", "disputed")
        reason = _find_reason(opinion, institution) or (DECIDED if decided else "")
        left_out[reason] += 1
        if not reason:
            opinions.append(opinion)
    del left_out[""]
    return opinions, left_out


def read_sheets(sheets: pa.Table, wanted: set[str]) -> dict[str, Sheet]:
    """The sheets with these ids, by id."""
    rows = sheets.filter(pc.is_in(sheets["specimen_id"], pa.array(sorted(wanted), pa.string())))
    columns = {name: rows[name].to_pylist() if name in rows.column_names else [None] * len(rows) for name in SHEET}
    made = (dict(zip(SHEET, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return {str(sheet["specimen_id"]): sheet for sheet in made}


def _find_reason(opinion: Opinion, institution: str | None) -> str:
    """Why an opinion is left out; "" if it is not."""
    if not opinion.sheet:
        return GONE
    if institution is not None and opinion.sheet["institution"] != institution:
        return ELSEWHERE
    return RENAMED if opinion.sheet[opinion.rank] != opinion.given else ""


def _read_suspects(suspects: pa.Table, known: Mapping[str, Sheet], machine: Machine) -> Iterator[tuple[Opinion, Key]]:
    for row in suspects.to_pylist():
        key = (row["specimen_id"], row["rank"], row["given"])
        yield (
            Opinion(
                id=derive_id(machine.fingerprint, *key, row["suggested"]),
                sheet=_complete(known.get(row["specimen_id"], {}), row),
                rank=row["rank"],
                given=row["given"],
                verdict="suggested",
                name=row["suggested"],
                by=machine.name,
                at=machine.at,
                probability=row["suggested_probability"],
                given_probability=row["given_probability"],
                alike=tuple(name for name in row["neighbour_names"] if name),
            ),
            key,
        )


def _complete(sheet: Sheet, row: Mapping[str, Any]) -> Sheet:
    """A sheet with the image of the list, if the collection does not know it."""
    return {**sheet, "image": sheet["image"] or row["image"]} if sheet else sheet


def _read_judgements(judgements: Mapping[Key, Judgement], known: Mapping[str, Sheet]) -> Iterator[tuple[Opinion, Key]]:
    for key, judgement in sorted(judgements.items()):
        settled = judgement.verdict == "right" or (judgement.verdict == "wrong" and judgement.name is not None)
        rows = sorted((row for row in judgement.by if row["verdict"] != "open"), key=lambda row: str(row["at"]))
        naming = [row["id"] for row in rows if settled and row["verdict"] == judgement.verdict and _name_in(row)]
        for row in rows:
            is_naming = row["id"] in naming
            opinion = Opinion(
                id=derive_id(*(row[name] for name in schema.VERDICT.names if name != "id")),
                sheet=known.get(judgement.specimen_id, {}),
                rank=judgement.rank,
                given=judgement.given,
                verdict=str(row["verdict"]),
                name=_name_in(row),
                by=row["reviewer"] or "",
                at=row["at"] or "",
                is_settled=is_naming,
                is_last=is_naming and row["id"] == naming[-1],
                note=row["note"],
            )
            yield opinion, key


def _name_in(row: Mapping[str, str | None]) -> str | None:
    """The name that a verdict gives to the sheet."""
    return {"right": row["given"], "wrong": row["name"]}.get(str(row["verdict"]))
