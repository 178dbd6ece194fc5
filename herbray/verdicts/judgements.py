"""What all reviewers together say about a name: agreement, disagreement, and sheets that have another name by now."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

Key = tuple[str, str, str]
"""Specimen, rank and the name that was judged."""


@dataclass(frozen=True)
class Judgement:
    """The verdicts on one name of one sheet.

    Attributes:
        specimen_id: of the sheet.
        rank: of the name.
        given: the name that was judged.
        verdict: "wrong" or "right" if no reviewer says the opposite, "disputed" if reviewers disagree, "maybe" if none
            decided, "open" if all verdicts were withdrawn.
        name: the right name, if the verdict is "wrong" and all who give a name give the same.
        by: each reviewer's last row, in `schema.VERDICT`.
    """

    specimen_id: str
    rank: str
    given: str
    verdict: str
    name: str | None
    by: tuple[dict[str, str | None], ...]


@dataclass(frozen=True)
class Matched:
    """Judgements, by what became of the sheets.

    Attributes:
        current: on names that the sheets still have.
        settled: on names that the sheets no longer have.
        gone: on sheets that are not in the collection.
    """

    current: dict[Key, Judgement]
    settled: dict[Key, Judgement]
    gone: dict[Key, Judgement]


def judge(verdicts: pa.Table) -> dict[Key, Judgement]:
    """Take each reviewer's last row on each name, and compare the reviewers.

    Args:
        verdicts: in `schema.VERDICT`, the oldest first.
    """
    last: dict[Key, dict[str, dict[str, str | None]]] = {}
    for row in verdicts.to_pylist():
        by = last.setdefault((row["specimen_id"], row["rank"], row["given"]), {})
        by[row["reviewer"]] = row
    return {key: Judgement(*key, *_compare([*by.values()]), tuple(by.values())) for key, by in last.items()}


def _compare(rows: list[dict[str, str | None]]) -> tuple[str, str | None]:
    """The common verdict and the common right name."""
    said = {row["verdict"] for row in rows} - {"open"}
    if said >= {"wrong", "right"}:
        return "disputed", None
    verdict = next((each for each in ("wrong", "right", "maybe") if each in said), "open")
    names = {row["name"] for row in rows if row["verdict"] == "wrong"} - {None}
    return verdict, names.pop() if len(names) == 1 else None


def match_names(judgements: Mapping[Key, Judgement], specimens: pa.Table) -> Matched:
    """Compare the names that were judged with those that the sheets have now.

    Args:
        judgements: from `judge`.
        specimens: `specimen_id` and the columns of the ranks.
    """
    judged = {each.specimen_id for each in judgements.values()}
    ranks = sorted({each.rank for each in judgements.values()})
    rows = specimens.select(["specimen_id", *ranks]).to_pylist() if judged else []
    now = {row["specimen_id"]: row for row in rows if row["specimen_id"] in judged}
    found = Matched({}, {}, {})
    for key, each in judgements.items():
        if each.specimen_id not in now:
            found.gone[key] = each
        elif now[each.specimen_id][each.rank] == each.given:
            found.current[key] = each
        else:
            found.settled[key] = each
    return found
