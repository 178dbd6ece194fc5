"""The identify job: suggests names for sheets without one, with calibrated confidence, as tables and work lists."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from herbray import schema, storage, tables
from herbray.config import Spec
from herbray.flow.embedding_folder import load_embeddings, read_note
from herbray.flow.evaluation.suspects import single_folder
from herbray.flow.naming.measured import describe_measured, measured_table, write_figure
from herbray.flow.naming.output import make_table, write_tables
from herbray.flow.naming.sheets import Gathered, Sources, gather_unnamed
from herbray.flow.queries.photographs import Files
from herbray.settings.root import PathOr
from herbray.spreadsheet import write_csv
from herbray.tasks.interface.validators import PooledSplit
from herbray.tasks.mislabel import Mislabel
from herbray.tasks.naming.learning import learn_names
from herbray.tasks.naming.suggestions import Suggestions, list_cases, suggest_names

Rank = Literal["order", "family", "genus", "species"]


class OpenSetSettings(Spec):
    """How sheets of unknown names are recognised."""

    rank: Rank = Field("genus", description="rank whose names are left out to measure how well that works")
    alarms: float = Field(0.05, gt=0, lt=1, description="accepted share of known names that are taken for unknown")


class Naming(Spec):
    """The job that names sheets. Reads embeddings of named sheets, writes suggestions for the others.

    It is the use of an encoder. The evaluation task that is also called `identify` measures an encoder.
    """

    embeddings: Path = Field(Path("runs/embeddings"), description="embeddings folder of one encoder")
    split: PooledSplit = Field(
        "herbarium+species+random", description="splits whose named sheets teach: the encoder was not trained on them"
    )
    rank: Rank = Field("genus", description="narrowest rank at which names are suggested")
    accuracy: float = Field(
        0.95, gt=0, lt=1, description="wanted share of right names among the accepted ones, at each rank"
    )
    catalogue: Path | None = Field(
        None, description="catalogue folder: its sheets without a name at `rank`, which no split uses, are named too"
    )
    images: Files = Field((), description="photographs: image files, and folders of them")
    shards: Path = Field(
        Path("runs/shards"), description="folder of the shards that were embedded: how images are reduced"
    )
    model: Annotated[str | None, PathOr(frozenset())] = Field(
        None, description="the encoder of the embeddings: models:/NAME/VERSION or a folder; None: where they say"
    )
    neighbours: int = Field(5, ge=1, le=100, description="number of similar named sheets listed as evidence")
    open_set: OpenSetSettings = OpenSetSettings()
    probe: Mislabel = Field(Mislabel(), description="only folds, C, class_weight and max_iter are used")
    out: Path = Field(Path("runs/names"), description="folder that receives tables, work lists and the figure")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(89, description="seed of the folds")


def identify(spec: Naming) -> str:
    """Suggest names, write tables, work lists and figure, and return a summary.

    Raises:
        ValueError: no sheet needs a name, no image can be read, encoder, shards and embeddings do not belong together,
            or no rank has two names in enough gatherings.
    """
    folder = single_folder(spec.embeddings)
    everything = load_embeddings(folder)
    named = everything.select_splits(spec.split)
    sources = Sources(folder, spec.shards, spec.catalogue, spec.images, spec.model, spec.store)
    gathered = gather_unnamed(sources, everything, spec.rank)
    cases = list_cases(gathered.unnamed, spec.rank)
    namer = learn_names(named, cases, spec.probe, spec.accuracy, spec.open_set.alarms, spec.open_set.rank, spec.seed)
    found = suggest_names(namer, gathered.unnamed, named)
    table = make_table(gathered, found, namer, named, spec.neighbours)
    storage.make_folder(spec.out)
    note = {name: read_note(folder).get(name) for name in ("encoder", "shards")}
    lists = write_tables(table, spec.out, note)
    tables.write(
        spec.out / "quarantine.parquet", pa.Table.from_pylist(list(gathered.refused), schema=schema.QUARANTINE)
    )
    write_csv(measured_table(namer), spec.out / "measured.csv")
    write_figure(namer, spec.accuracy, spec.out / "accuracy-coverage.png")
    counts = _count(spec, gathered)
    return "\n".join([*namer.notes, *describe_measured(namer), *_summarise(spec, found, counts, lists)])


def _count(spec: Naming, gathered: Gathered) -> dict[str, int]:
    counts = {"input": gathered.input, "ok": len(gathered.unnamed.ids)}
    counts |= {"quarantined": len(gathered.refused), "skipped": gathered.skipped}
    if counts["input"] != counts["ok"] + counts["quarantined"] + counts["skipped"]:
        raise RuntimeError(f"{spec.out}: counts do not add up: {counts}; this is a bug in herbray, please report it")
    return counts


def _summarise(spec: Naming, found: Suggestions, counts: dict[str, int], lists: int) -> list[str]:
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    accepted = int((found.name != None).sum())  # noqa: E711  (element by element)
    ranks = ", ".join(f"{int((found.rank == rank).sum()):,} at rank {rank}" for rank in found.by_rank)
    lines = [f"{told} (skipped: sheets that have a name, files that are no image)"]
    lines.append(f"names accepted for {accepted:,} of {counts['ok']:,} sheets ({ranks})")
    if strange := int(np.sum(found.unknown == True)):  # noqa: E712  (element by element)
        lines.append(f"{strange:,} sheets look like none of the known names")
    if found.conflicts:
        lines.append(f"{found.conflicts:,} suggestions contradict a wider name and are not accepted")
    return [*lines, f"{spec.out / 'names.csv'} lists all; {lists:,} work lists by family in {spec.out / 'families'}"]
