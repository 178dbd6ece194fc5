"""The suspects job: lists sheets that may be filed under a wrong name, as a table and as CSV for a spreadsheet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray import schema, storage, tables
from herbray.config import Spec
from herbray.data import catalogue
from herbray.data.duplicates.image_groups import read_groups
from herbray.data.judged_labels import TAUGHT
from herbray.data.names.lookup import read_synonyms
from herbray.flow.embedding_folder import read_embeddings, read_note
from herbray.flow.evaluation import known_names
from herbray.flow.evaluation.job import embeddings_folders
from herbray.flow.evaluation.known_names import KnownNames
from herbray.flow.evaluation.suspects_figure import draw_figure
from herbray.spreadsheet import flatten_lists, write_csv
from herbray.tasks import Embeddings
from herbray.tasks import suspects as task
from herbray.tasks.interface.columns import Labels
from herbray.tasks.interface.validators import PooledSplit
from herbray.tasks.mislabel import Mislabel
from herbray.verdicts.files import read_verdicts
from herbray.verdicts.judgements import Matched, judge, match_names

_SHEET_COLUMNS = ("institution", "catalog_number", "reference")


class Suspects(Spec):
    """The job that lists doubtful names. Reads one embeddings folder, writes a folder of tables and a figure."""

    embeddings: Path = Field(Path("runs/embeddings"), description="embeddings folder of one encoder")
    split: PooledSplit | None = Field(None, description="splits whose sheets are judged; None: every embedded sheet")
    rank: Literal["order", "family", "genus", "species"] = Field("genus", description="rank at which names are checked")
    catalogue: Path | None = Field(
        None,
        description="catalogue folder: for the path of each image, and to tell which of its sheets are not embedded",
    )
    synonyms: Path | None = Field(
        None,
        description="table with the columns name and accepted: a sheet under a synonym is listed as such, not as wrong",
    )
    duplicates: Path | None = Field(
        None,
        description="shards folder that lists duplicate images: sheets with one image are held out together, and at "
        "most one of their names is right",
    )
    neighbours: int = Field(5, ge=1, le=100, description="number of similar sheets listed as evidence")
    most: int | None = Field(None, ge=1, description="most rows of the list; None: every specimen")
    verdicts: Path | None = Field(
        None,
        description="folder with CSV files of verdicts, or one CSV file: the list is scored by them, in `scores.csv`",
    )
    probe: Mislabel = Field(Mislabel(), description="only folds, C, class_weight and max_iter are used")
    out: Path = Field(
        Path("runs/suspects"),
        description="folder that receives `suspects.csv`, `suspects.parquet`, `not-judged.csv` and `reliability.png`",
    )
    seed: int = Field(89, description="seed of the folds")


@dataclass(frozen=True, eq=False)
class SuspectList:
    """The list, in `schema.SUSPECT`, and a summary of it."""

    table: pa.Table
    summary: str

    def __str__(self) -> str:
        """The last lines of `herbray suspects`."""
        return self.summary


def suspects(spec: Suspects) -> SuspectList:
    """Make the list, most probably wrong first, and write it as Parquet and as CSV.

    Raises:
        ValueError: the folder holds no embeddings or those of several encoders, there is no such split, fewer than two
            names can be learned, or the catalogue or the table of synonyms cannot be read.
        RuntimeError: sheets were lost.
    """
    folder = single_folder(spec.embeddings)
    accepted = read_synonyms(spec.synonyms)[0] if spec.synonyms else {}
    specimens = catalogue.read(spec.catalogue) if spec.catalogue else None
    table, note = read_embeddings(folder), read_note(folder)
    whole = Embeddings.from_table(table)
    embeddings = whole if spec.split is None else whole.select_splits(spec.split)
    same = None
    if spec.duplicates:
        ids = pa.chunked_array([pa.array(np.asarray(embeddings.specimen_id), pa.string())])
        same = Labels.from_arrow(read_groups(spec.duplicates, ids))
    found = task.list_suspects(embeddings, spec.rank, spec.probe, spec.seed, spec.neighbours, accepted, same)
    unjudged = pa.concat_tables([found.unjudged, _list_unembedded(spec, specimens, table, embeddings)])
    listed = _add_sheet_columns(found.table.slice(0, spec.most), table, specimens)
    counted = _count(spec, found, unjudged, embeddings, table, specimens)
    storage.make_folder(spec.out)
    tables.write(spec.out / "suspects.parquet", listed, {name: note.get(name) for name in ("encoder", "shards")})
    write_csv(flatten_lists(listed), spec.out / "suspects.csv")
    write_csv(unjudged, spec.out / "not-judged.csv")
    matched, known = _match(spec, found.table, table)
    storage.write_bytes(spec.out / "reliability.png", draw_figure(found, known))
    lines = [
        _summarise(found, len(listed), spec.out),
        *_describe_expected(found),
        _describe_reliability(found, spec.out),
        found.not_judged,
        counted,
        _describe_taught(note, embeddings),
        *_score(spec, matched, known),
    ]
    return SuspectList(listed, "\n".join(filter(None, lines)))


def _list_unembedded(spec: Suspects, specimens: pa.Table | None, table: pa.Table, embeddings: Embeddings) -> pa.Table:
    """The sheets of the catalogue, and those of other splits, that are not judged because of that."""
    here = pa.array(np.asarray(embeddings.specimen_id), pa.string())
    parts = [(table, f"its split is not among {spec.split}")]
    if specimens is not None:
        parts.append((specimens, "not embedded: it is in no split of the shards, or its split is not embedded"))
    found = [task.NOT_JUDGED.empty_table()]
    for each, reason in parts:
        rest = each.filter(pc.invert(pc.is_in(each["specimen_id"], value_set=here)))
        here = pa.concat_arrays([here, rest["specimen_id"].combine_chunks().cast(pa.string())])
        columns = {
            "specimen_id": rest["specimen_id"],
            "rank": [spec.rank] * len(rest),
            "given": rest[spec.rank],
            "gatherings": pa.nulls(len(rest), pa.int64()),
            "reason": [reason] * len(rest),
        }
        found.append(pa.table(columns, schema=task.NOT_JUDGED))
    return pa.concat_tables(found)


def _count(
    spec: Suspects,
    found: task.SuspectList,
    unjudged: pa.Table,
    embeddings: Embeddings,
    table: pa.Table,
    specimens: pa.Table | None,
) -> str:
    """A line whose numbers add up: what became of every sheet.

    Raises:
        RuntimeError: they do not add up.
    """
    sheets = {*table["specimen_id"].to_pylist(), *(specimens["specimen_id"].to_pylist() if specimens else ())}
    judged, apart = len(found.table), len(found.unjudged)
    outside = len(unjudged) - apart
    if judged + apart != len(embeddings) or judged + len(unjudged) != len(sheets):
        raise RuntimeError(
            f"{len(sheets):,} sheets, but {judged:,} judged, {apart:,} not judged and {outside:,} not embedded"
        )
    line = f"{len(sheets):,} sheets: {judged:,} judged, {apart:,} not judged"
    more = f", {outside:,} of other splits or not embedded" if outside else ""
    return f"{line}{more}; {spec.out / 'not-judged.csv'} lists the others" if len(unjudged) else line


def _describe_expected(found: task.SuspectList) -> Iterator[str]:
    for each in found.expected:
        yield f"Of the first {each.first:,}, an estimated {each.value:,.0f} are wrong ({each.low:,} to {each.high:,})"
    yield f"In all, an estimated {found.total:,.0f} of {len(found.table):,} names are wrong"


def _describe_reliability(found: task.SuspectList, out: Path) -> str:
    return (
        f"Calibration error of the probe's probabilities, out of fold: {found.before.error:.3f} as they are, "
        f"{found.after.error:.3f} calibrated; {out / 'reliability.png'} shows both"
    )


def _describe_taught(note: Mapping[str, Any], embeddings: Embeddings) -> str:
    """A warning if the encoder has learned the names that are to be judged."""
    if note.get("objective", schema.UNTRAINED) == schema.UNTRAINED:
        return ""
    taught = int(embeddings.split.isin(TAUGHT).sum())
    if not taught:
        return ""
    return (
        f"{taught:,} of these sheets are in the training or validation split: the encoder has seen them under their "
        "filed names, and may hide names that it learned wrong. The probe has not. Start weights have seen no name: "
        "`herbray embed` with model=start"
    )


def _match(spec: Suspects, listed: pa.Table, table: pa.Table) -> tuple[Matched | None, KnownNames]:
    """The verdicts, if there are any, and the names of the whole list that are known to be wrong or right."""
    matched = match_names(judge(read_verdicts(spec.verdicts)), table) if spec.verdicts else None
    specimens = {row["specimen_id"]: row for row in table.select(schema.SPECIMEN.names).to_pylist()}
    keys = [*zip(*(listed[name].to_pylist() for name in ("specimen_id", "rank", "given")), strict=True)]
    current = matched.current if matched else {}
    return matched, known_names.find_known_names(keys, current, specimens, use_truth=matched is None)


def _score(spec: Suspects, matched: Matched | None, known: KnownNames) -> list[str]:
    """Score the whole list by the verdicts, if there are any; lines for people."""
    if spec.verdicts is None or matched is None:
        return []
    scores = known_names.score_table(known, spec.seed)
    write_csv(scores, spec.out / "scores.csv")
    lines = known_names.describe_scores(scores) or [f"{spec.verdicts}: no verdict on a name of this list"]
    return [*lines, *known_names.describe_matched(matched, spec.verdicts)]


def _summarise(found: task.SuspectList, listed: int, out: Path) -> str:
    suspected = pc.sum(found.table["suspected"]).as_py()
    head = f"{suspected:,} of {len(found.table):,} sheets are suspected"
    kinds = {
        name: len(found.table.filter(pc.equal(found.table["kind"], name))) for name in ("gathering", "image", "synonym")
    }
    more = [f"{kinds['gathering']:,} sheets are of gatherings with several names"] * bool(kinds["gathering"])
    more += [f"{kinds['image']:,} have an image with several names"] * bool(kinds["image"])
    more += [f"{kinds['synonym']:,} are under a synonym"] * bool(kinds["synonym"])
    return "; ".join([head, *more, f"{out / 'suspects.csv'} lists {listed:,}, most probably wrong first"])


def single_folder(folder: Path) -> Path:
    """The embeddings folder, or the only one inside it.

    Raises:
        ValueError: there is none, or several.
    """
    folders = embeddings_folders([folder])
    if len(folders) > 1:
        names = ", ".join(each.name for each in folders[:8])
        raise ValueError(f"{folder}: embeddings of {len(folders)} encoders ({names}); set embeddings to one of them")
    return folders[0]


def _add_sheet_columns(listed: pa.Table, table: pa.Table, specimens: pa.Table | None) -> pa.Table:
    """The list in `schema.SUSPECT`, with the columns of the sheet and, if there is a catalogue, the image's path."""
    columns = {name: listed[name] for name in listed.column_names}
    columns |= {name: _look_up(listed["specimen_id"], table, name) for name in _SHEET_COLUMNS}
    images = _look_up(listed["specimen_id"], specimens, "image") if specimens else pa.nulls(len(listed), pa.string())
    columns["image"] = images
    return pa.table({name: columns[name] for name in schema.SUSPECT.names}, schema=schema.SUSPECT)


def _look_up(ids: pa.ChunkedArray, table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of `table` in the order of `ids`; null for ids that `table` does not have."""
    return table[name].take(pc.index_in(ids, table["specimen_id"].combine_chunks()))
