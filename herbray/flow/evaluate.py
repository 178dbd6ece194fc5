"""Embeddings → results: every task on every split for every encoder, as Ray tasks; the champion earned by a figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from pydantic import Field

from herbray import schema, tracking
from herbray.config import Spec
from herbray.flow import cluster
from herbray.flow.embed import read_embeddings, read_note
from herbray.tasks import AnyTask, Embeddings, Score, TaskSpec, to_table
from herbray.tasks.discriminate import Discriminate
from herbray.tasks.identify import Identify
from herbray.tasks.mislabel import Mislabel


class Evaluate(Spec):
    """The evaluation job. Reads embeddings folders, writes one table of results in long form."""

    embeddings: tuple[Path, ...] = Field((Path("runs/embeddings"),), description="folders, or folders of such folders")
    tasks: tuple[AnyTask, ...] = (Identify(), Discriminate(), Mislabel())
    out: Path = Path("runs/results.parquet")
    champion: str = Field("identify/random/genus/accuracy", description="task/split/level/metric that earns the alias")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = 89


@dataclass(frozen=True)
class _Piece:
    """One encoder, one narrow task, one split: what a Ray task computes."""

    folder: Path
    task: TaskSpec
    split: str


def evaluate(spec: Evaluate) -> pa.Table:
    """Compute the results, write them, log them to each encoder's run, and move `champion` where it was earned.

    Raises:
        ValueError: no embeddings, an unknown split, or a task that the data cannot serve.
    """
    folders = embeddings_folders(spec.embeddings)
    tables = {folder: read_embeddings(folder) for folder in folders}
    pieces = [
        _Piece(f, part, name) for f in folders for task in spec.tasks for name in task.splits for part in task.parts()
    ]
    with cluster.connected():
        scores = _scores(spec, tables, pieces)
    results = pa.concat_tables(
        to_table(found, note["model"], note["init"], note["seed"])
        for note, found in ((read_note(folder), scores[folder]) for folder in folders)
    ).sort_by([(name, "ascending") for name in schema.RESULT.names[:-1]])
    spec.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = spec.out.with_name(f".{spec.out.name}.tmp")
    pq.write_table(results, temporary, compression="zstd")
    cluster.replace(spec.out, temporary)
    for folder in folders:
        _record(spec, read_note(folder), results)
    return results


def embeddings_folders(paths: Sequence[Path]) -> list[Path]:
    """Folders that hold embeddings: each path itself, or its children.

    Raises:
        ValueError: a path holds none.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path] if (path / "manifest.json").exists() else sorted(p.parent for p in path.glob("*/manifest.json"))
        if not inside:
            raise ValueError(f"{path}: no finished embeddings here; run `herbray embed` first")
        found += inside
    return found


def _scores(spec: Evaluate, tables: dict[Path, pa.Table], pieces: Sequence[_Piece]) -> dict[Path, list[Score]]:
    run = ray.remote(num_cpus=1, max_retries=2)(_run_piece)
    stored = {folder: ray.put(Embeddings.from_table(table)) for folder, table in tables.items()}
    refs = {run.remote(p.task, stored[p.folder], p.split, spec.seed): p for p in pieces}
    found: dict[Path, list[Score]] = {folder: [] for folder in tables}
    with cluster.progress() as bar:
        job = bar.add_task("evaluate", total=len(refs), unit="task")
        for ref in _as_they_end(list(refs)):
            found[refs[ref].folder] += _got(ref)
            bar.advance(job)
    return found


def _run_piece(task: TaskSpec, embeddings: Embeddings, split: str, seed: int) -> list[Score]:
    return task.run(embeddings, split, seed)


def _as_they_end(refs: list[Any]) -> Iterator[Any]:
    while refs:
        done, refs = ray.wait(refs, num_returns=1)
        yield from done


def _got(ref: Any) -> list[Score]:  # noqa: ANN401  (an ObjectRef)
    try:
        scores: list[Score] = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError):  # bad input: the task's own words, not Ray's stack
            raise ValueError(str(error.cause)) from None
        raise
    return scores


def _record(spec: Evaluate, note: dict[str, Any], results: pa.Table) -> None:
    """Put the results beside the run that made the encoder, and let a better one be champion."""
    if not note["uri"]:
        return
    _, name, version = note["uri"].split("/")
    mine = results.filter(
        pc.and_(pc.equal(results["model"], note["model"]), pc.equal(results["seed"], note["seed"]))
    ).filter(pc.equal(pc.field("init"), note["init"]))
    uri = tracking.tracking_uri(spec.store)
    run = tracking.run_of(uri, name, int(version))
    tracking.log_results(run, mine)
    task, split, level, metric = spec.champion.split("/")
    keys = {"task": task, "split": split, "level": level, "metric": metric}
    for column, value in keys.items():
        mine = mine.filter(pc.equal(mine[column], value))
    if mine.num_rows:
        tracking.promote_if_better(uri, name, int(version), spec.champion, float(pc.mean(mine["value"]).as_py()))
