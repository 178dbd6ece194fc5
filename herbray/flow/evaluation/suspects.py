"""Embeddings → a curators' list: sheets whose filed name is doubted, as a table and as CSV for a spreadsheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray import schema, tables
from herbray.config import Spec
from herbray.data import catalogue
from herbray.flow.embedding.job import read_embeddings
from herbray.flow.evaluation.job import embeddings_folders
from herbray.spreadsheet import write_csv
from herbray.tasks import Embeddings
from herbray.tasks import suspects as task
from herbray.tasks.base import Pooled
from herbray.tasks.mislabel import Mislabel

_SAID_BY_THE_SHEET = ("institution", "catalog_number", "reference")


class Suspects(Spec):
    """The job that lists doubtful names. Reads one embeddings folder, writes `suspects.csv` and `suspects.parquet`."""

    embeddings: Path = Field(Path("runs/embeddings"), description="of one encoder")
    split: Pooled = Field("herbarium+species+random", description="not those that trained the encoder")
    rank: Literal["order", "family", "genus", "species"] = Field("genus", description="rank at which names are checked")
    catalogue: Path | None = Field(None, description="tells where each image lies")
    neighbours: int = Field(5, ge=1, le=100, description="similar sheets that are named as evidence")
    most: int | None = Field(None, ge=1, description="rows of the list; None: every specimen")
    probe: Mislabel = Field(Mislabel(), description="its folds, C, class_weight and max_iter are used")
    out: Path = Field(Path("runs/suspects"), description="folder that receives `suspects.csv` and `suspects.parquet`")
    seed: int = Field(89, description="seed of the folds")


@dataclass(frozen=True, eq=False)
class Written:
    """The list that was written, in `schema.SUSPECT`, and what a person is told of it."""

    table: pa.Table
    summary: str

    def __str__(self) -> str:
        """The last lines of `herbray suspects`."""
        return self.summary


def suspects(spec: Suspects) -> Written:
    """Make the list, most doubtful first, and write it in both forms.

    Raises:
        ValueError: no embeddings or several encoders' in the folder, no such split, fewer than two names that can be
            learnt, or an unreadable catalogue.
    """
    table = read_embeddings(_only(spec.embeddings))
    embeddings = Embeddings.from_table(table).of_split(spec.split)
    found = task.suspects(embeddings, spec.rank, spec.probe, spec.seed, spec.neighbours)
    listed = _with_sheet(found.table.slice(0, spec.most), table, spec.catalogue)
    spec.out.mkdir(parents=True, exist_ok=True)
    tables.write(spec.out / "suspects.parquet", listed)
    write_csv(_flat(listed), spec.out / "suspects.csv")
    return Written(listed, _summary(found, len(listed), spec.out))


def _summary(found: task.Listed, listed: int, out: Path) -> str:
    suspected = pc.sum(found.table["suspected"]).as_py()
    head = f"{suspected:,} of {len(found.table):,} sheets are suspected; {out / 'suspects.csv'} lists {listed:,}"
    return "\n".join(filter(None, (f"{head}, most doubtful first", found.not_judged)))


def _only(folder: Path) -> Path:
    folders = embeddings_folders([folder])
    if len(folders) > 1:
        names = ", ".join(each.name for each in folders[:8])
        raise ValueError(f"{folder}: embeddings of {len(folders)} encoders ({names}); set embeddings to one of them")
    return folders[0]


def _with_sheet(listed: pa.Table, table: pa.Table, folder: Path | None) -> pa.Table:
    """The list in `schema.SUSPECT`: what the sheet says of itself and, where a catalogue is at hand, its image."""
    columns = {name: listed[name] for name in listed.column_names}
    columns |= {name: _looked_up(listed["specimen_id"], table, name) for name in _SAID_BY_THE_SHEET}
    known = catalogue.read(folder) if folder else None
    columns["image"] = (
        _looked_up(listed["specimen_id"], known, "image") if known else pa.nulls(len(listed), pa.string())
    )
    return pa.table({name: columns[name] for name in schema.SUSPECT.names}, schema=schema.SUSPECT)


def _looked_up(ids: pa.ChunkedArray, table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of `table` in the order of `ids`; null where an id is not there."""
    return table[name].take(pc.index_in(ids, table["specimen_id"].combine_chunks()))


def _flat(listed: pa.Table) -> pa.Table:
    """Lists as one text each, for a spreadsheet; probabilities to four places."""
    for at, field in enumerate(listed.schema):
        if pa.types.is_list(field.type):
            listed = listed.set_column(at, field.name, pc.binary_join(listed[field.name], "; "))
        elif pa.types.is_floating(field.type):
            listed = listed.set_column(at, field.name, pa.array(np.round(listed[field.name].to_numpy(), 4)))
    return listed
