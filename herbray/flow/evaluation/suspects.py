"""The suspects job: lists sheets that may be filed under a wrong name, as a table and as CSV for a spreadsheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray import schema, storage, tables
from herbray.config import Spec
from herbray.data import catalogue
from herbray.flow.embedding_folder import read_embeddings, read_note
from herbray.flow.evaluation import known_names
from herbray.flow.evaluation.job import embeddings_folders
from herbray.spreadsheet import flatten_lists, write_csv
from herbray.tasks import Embeddings
from herbray.tasks import suspects as task
from herbray.tasks.interface.validators import PooledSplit
from herbray.tasks.mislabel import Mislabel
from herbray.verdicts.files import read_verdicts
from herbray.verdicts.judgements import judge, match_names

_SHEET_COLUMNS = ("institution", "catalog_number", "reference")


class Suspects(Spec):
    """The job that lists doubtful names. Reads one embeddings folder, writes `suspects.csv` and `suspects.parquet`."""

    embeddings: Path = Field(Path("runs/embeddings"), description="embeddings folder of one encoder")
    split: PooledSplit = Field("herbarium+species+random", description="splits that the encoder was not trained on")
    rank: Literal["order", "family", "genus", "species"] = Field("genus", description="rank at which names are checked")
    catalogue: Path | None = Field(None, description="catalogue folder, for the column with the path of each image")
    neighbours: int = Field(5, ge=1, le=100, description="number of similar sheets listed as evidence")
    most: int | None = Field(None, ge=1, description="most rows of the list; None: every specimen")
    verdicts: Path | None = Field(
        None,
        description="folder with CSV files of verdicts, or one CSV file: the list is scored by them, in `scores.csv`",
    )
    probe: Mislabel = Field(Mislabel(), description="only folds, C, class_weight and max_iter are used")
    out: Path = Field(Path("runs/suspects"), description="folder that receives `suspects.csv` and `suspects.parquet`")
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
    """Make the list, most doubtful first, and write it as Parquet and as CSV.

    Raises:
        ValueError: the folder holds no embeddings or those of several encoders, there is no such split, fewer than two
            names can be learned, or the catalogue cannot be read.
    """
    folder = single_folder(spec.embeddings)
    table = read_embeddings(folder)
    embeddings = Embeddings.from_table(table).select_splits(spec.split)
    found = task.list_suspects(embeddings, spec.rank, spec.probe, spec.seed, spec.neighbours)
    listed = _add_sheet_columns(found.table.slice(0, spec.most), table, spec.catalogue)
    storage.make_folder(spec.out)
    note = read_note(folder)
    tables.write(spec.out / "suspects.parquet", listed, {name: note.get(name) for name in ("encoder", "shards")})
    write_csv(flatten_lists(listed), spec.out / "suspects.csv")
    scored = _score(spec, found.table, table)
    return SuspectList(listed, "\n".join([_summarise(found, len(listed), spec.out), *scored]))


def _score(spec: Suspects, listed: pa.Table, table: pa.Table) -> list[str]:
    """Score the whole list by the verdicts, if there are any; lines for people."""
    if spec.verdicts is None:
        return []
    matched = match_names(judge(read_verdicts(spec.verdicts)), table)
    specimens = {row["specimen_id"]: row for row in table.select(schema.SPECIMEN.names).to_pylist()}
    keys = zip(*(listed[name].to_pylist() for name in ("specimen_id", "rank", "given")), strict=True)
    known = known_names.find_known_names([*keys], matched.current, specimens, use_truth=False)
    scores = known_names.score_table(known, spec.seed)
    write_csv(scores, spec.out / "scores.csv")
    lines = known_names.describe_scores(scores) or [f"{spec.verdicts}: no verdict on a name of this list"]
    return [*lines, *known_names.describe_matched(matched, spec.verdicts)]


def _summarise(found: task.SuspectList, listed: int, out: Path) -> str:
    suspected = pc.sum(found.table["suspected"]).as_py()
    head = f"{suspected:,} of {len(found.table):,} sheets are suspected; {out / 'suspects.csv'} lists {listed:,}"
    return "\n".join(filter(None, (f"{head}, most doubtful first", found.not_judged)))


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


def _add_sheet_columns(listed: pa.Table, table: pa.Table, folder: Path | None) -> pa.Table:
    """The list in `schema.SUSPECT`, with the columns of the sheet and, if there is a catalogue, the image's path."""
    columns = {name: listed[name] for name in listed.column_names}
    columns |= {name: _look_up(listed["specimen_id"], table, name) for name in _SHEET_COLUMNS}
    specimens = catalogue.read(folder) if folder else None
    images = _look_up(listed["specimen_id"], specimens, "image") if specimens else pa.nulls(len(listed), pa.string())
    columns["image"] = images
    return pa.table({name: columns[name] for name in schema.SUSPECT.names}, schema=schema.SUSPECT)


def _look_up(ids: pa.ChunkedArray, table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of `table` in the order of `ids`; null for ids that `table` does not have."""
    return table[name].take(pc.index_in(ids, table["specimen_id"].combine_chunks()))
