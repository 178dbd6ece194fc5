"""Embeddings → results: every task on every split for every encoder, as Ray tasks; the champion earned by a figure.

Beside the results lie the outcomes of each specimen and the comparisons of encoders that follow from them.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from pydantic import Field

from herbray import __version__, schema, tables
from herbray.config import Spec
from herbray.data import plan
from herbray.flow.cluster import connection
from herbray.flow.embedding.job import read_embeddings, read_labels, read_note
from herbray.flow.evaluation.comparison import AnyRule, Rule
from herbray.flow.evaluation.outcomes import comparisons, comparisons_file, write_outcomes
from herbray.flow.evaluation.partial_results import Found, Pieces, code_print, embeddings_print
from herbray.flow.evaluation.write_back import Entry, record
from herbray.flow.training.fingerprints import identity_from_manifest
from herbray.tasks import (
    AnyTask,
    Embeddings,
    Judgeable,
    LeftOut,
    TaskSpec,
    judgeable,
    lines,
    to_left_out_table,
    to_outcome_table,
    to_table,
)
from herbray.tasks.discriminate import Discriminate
from herbray.tasks.identify import Identify
from herbray.tasks.methods.bootstrap import Bootstrap, by_gathering, intervals
from herbray.tasks.mislabel import Mislabel

_log = logging.getLogger(__name__)


class Evaluate(Spec):
    """The evaluation job. Reads embeddings folders, writes one table of results in long form.

    Beside `results.parquet` it writes `results-outcomes/`, what each specimen contributed, and
    `results-comparisons.parquet`, every two kinds of encoder compared on the same specimens.
    """

    embeddings: tuple[Path, ...] = Field((Path("runs/embeddings"),), description="folders, or folders of such folders")
    tasks: tuple[AnyTask, ...] = Field((Identify(), Discriminate(), Mislabel()), description="what to measure")
    out: Path = Field(
        Path("runs/results.parquet"), description="table of results; further tables are written next to it"
    )
    bootstrap: Bootstrap = Field(Bootstrap(), description="of the intervals and comparisons; resamples: 0 for neither")
    champion: AnyRule = Field(Rule(), description="what earns the alias; see `herbray promote`")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(89, description="seed of folds, draws and resampling")


@dataclass(frozen=True)
class _Piece:
    """One encoder, one narrow task, one split: what a Ray task computes."""

    folder: Path
    task: TaskSpec
    split: str


def evaluate(spec: Evaluate, said: Collection[LeftOut] = ()) -> pa.Table:
    """Compute the results, write them, log them to each encoder's run, and move `champion` where it was earned.

    What the labels do not allow to be judged is left out, which is said before anything is computed and stands in
    `results-left-out.parquet`; see `tasks.judgeable` for what is an error instead.

    Tasks that have ended are kept beside the results until all is done: a killed evaluation goes on with the others.

    A model without a champion gets its first one; another version takes its place as with `herbray promote`, where
    the champion is evaluated here too.

    Args:
        spec: of the job.
        said: what the user has been told is left out.

    Raises:
        ValueError: no embeddings, an unknown split, or a task that the data cannot serve.
    """
    folders = embeddings_folders(spec.embeddings)
    distinct = distinct_encoders(folders)
    allowed = {folder: judgeable(spec.tasks, read_labels(folder), spec.seed) for folder in folders}
    left_out = _left_out(allowed)
    connection.say(lines([one for one in left_out if one not in said]))
    pieces = [_Piece(f, part, name) for f in folders for task, name in allowed[f].pieces for part in task.parts()]
    with connection.connected():
        found = _measured(spec, folders, pieces)
        results = pa.concat_tables(one.results for folder in distinct for one in found[folder])
        results = results.sort_by([(name, "ascending") for name in schema.RESULT.names[:-1]])
        files = write_outcomes(spec.out, {str(f): [one.outcomes for one in found[f]] for f in distinct})
        compared = comparisons(files, spec.bootstrap, spec.seed)
    tables.write(comparisons_file(spec.out), compared)
    tables.write(left_out_file(spec.out), to_left_out_table(left_out))
    tables.write(spec.out, results)
    record(spec.store, spec.champion, spec.seed, [_entry(folder, found[folder]) for folder in folders])
    Pieces(spec.out).clear()
    return results


def _left_out(allowed: Mapping[Path, Judgeable]) -> list[LeftOut]:
    """What is left out of all encoders, or of some, which are then named."""
    where: dict[LeftOut, list[str]] = {}
    for folder, each in allowed.items():
        for one in each.left_out:
            where.setdefault(one, []).append(folder.name)
    return [
        one if len(names) == len(allowed) else replace(one, reason=f"{one.reason} (of {', '.join(names)})")
        for one, names in where.items()
    ]


def _entry(folder: Path, found: Sequence[Found]) -> Entry:
    """All that was found of one encoder."""
    return Entry(folder, *(pa.concat_tables(getattr(one, name) for one in found) for name in ("results", "outcomes")))


def left_out_file(results: Path) -> Path:
    """Where it is told what was not judged: `results.parquet` → `results-left-out.parquet`."""
    return results.with_name(f"{results.stem}-left-out.parquet")


def distinct_encoders(folders: Sequence[Path]) -> list[Path]:
    """The folders without repeated encoders: of several that hold the same encoder of the same kind, the first.

    Raises:
        ValueError: they hold its embeddings of different shards, which results could not tell apart.
    """
    first: dict[tuple[str, str], tuple[Path, str]] = {}
    for folder in folders:
        note = read_note(folder)
        there, shards = first.setdefault((note["encoder"], note["kind"]), (folder, note["shards"]))
        if shards != note["shards"]:
            raise ValueError(
                f"{there} and {folder} hold the same encoder on different shards, which results cannot tell apart: "
                f"evaluate them apart, e.g. `herbray evaluate embeddings={folder} out={folder.name}.parquet`"
            )
        if there != folder:
            _log.warning("%s holds the same encoder as %s: results contain it once", folder.name, there.name)
    return [folder for folder, _ in first.values()]


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


def _measured(spec: Evaluate, folders: Sequence[Path], pieces: Sequence[_Piece]) -> dict[Path, list[Found]]:
    """What every piece of each folder gave, in the order of the pieces; those that were measured before are read."""
    kept = Pieces(spec.out)
    prints = {folder: embeddings_print(folder) for folder in folders}
    keys = [_key(spec, piece, prints[piece.folder]) for piece in pieces]
    ended = {number: found for number, key in enumerate(keys) if (found := kept.read(key))}
    left = [number for number in range(len(pieces)) if number not in ended]
    with connection.progress() as bar:
        job = bar.add_task("evaluate", total=len(pieces), completed=len(ended), begun=len(ended), unit="task")
        for number, found in _as_they_end(spec, pieces, left):
            ended[number] = found
            kept.write(keys[number], found)
            bar.advance(job)
    return {folder: [ended[n] for n, piece in enumerate(pieces) if piece.folder == folder] for folder in folders}


def _as_they_end(spec: Evaluate, pieces: Sequence[_Piece], left: Sequence[int]) -> Iterator[tuple[int, Found]]:
    """Numbers of the pieces that are left, and what they gave, whichever ends first.

    So many are given out that each CPU has its next one; only the embeddings that these ask for are in memory.
    """
    run = ray.remote(num_cpus=1, max_retries=2)(_run_piece)
    most = 2 * max(1, int(connection.resource("CPU")))
    waiting = deque(left)
    given: dict[Any, int] = {}
    folder: Path | None = None
    stored: Any = None
    note: dict[str, Any] = {}
    while waiting or given:
        while waiting and len(given) < most:
            piece = pieces[number := waiting.popleft()]
            if piece.folder != folder:  # pieces of a folder stand together; Ray keeps those of running tasks
                folder = piece.folder
                stored, note = ray.put(Embeddings.from_table(read_embeddings(folder))), read_note(folder)
            given[run.remote(piece, stored, note, spec.bootstrap, spec.seed)] = number
        ended, _ = ray.wait(list(given), num_returns=1)
        yield given.pop(ended[0]), connection.got(ended[0])


def _key(spec: Evaluate, piece: _Piece, embeddings: str) -> str:
    settings = [each.model_dump(mode="json") for each in (piece.task, spec.bootstrap)]
    return plan.fingerprint(embeddings, settings, piece.split, spec.seed, __version__, code_print())


def _run_piece(piece: _Piece, embeddings: Embeddings, note: dict[str, Any], bootstrap: Bootstrap, seed: int) -> Found:
    measured = piece.task.measure(embeddings, piece.split, seed)
    outcomes = by_gathering(measured.outcomes, embeddings)
    scores = measured.scores + intervals(outcomes, bootstrap, seed)
    return Found(
        to_table(scores, identity_from_manifest(note)), to_outcome_table(outcomes, identity_from_manifest(note))
    )
