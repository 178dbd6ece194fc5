"""The evaluation job: runs every task on every split for every encoder, as Ray tasks, and updates the registry.

Next to the results it writes the outcomes of each specimen and the comparisons of encoders computed from them.
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

from herbray import __version__, schema, storage, tables
from herbray.config import Spec
from herbray.data.fingerprint import fingerprint_json
from herbray.flow.cluster import connection
from herbray.flow.cluster.placement import Node
from herbray.flow.embedding_folder import describe_remedy as embeddings_remedy
from herbray.flow.embedding_folder import load_embeddings, read_dim, read_labels, read_note
from herbray.flow.evaluation.comparison import AnyRule, PromotionRule
from herbray.flow.evaluation.outcomes import compare_encoders, comparisons_file, write_outcomes
from herbray.flow.evaluation.partial_results import (
    PartialResult,
    PartialResults,
    fingerprint_code,
    fingerprint_embeddings,
)
from herbray.flow.evaluation.write_back import EncoderResults, write_back
from herbray.flow.training.fingerprints import identity_from_manifest
from herbray.tasks import (
    AnyTask,
    Embeddings,
    LeftOut,
    ScorableTasks,
    TaskSpec,
    describe_left_out,
    select_scorable,
    to_left_out_table,
    to_outcome_table,
    to_result_table,
)
from herbray.tasks.discriminate import Discriminate
from herbray.tasks.identify import Identify
from herbray.tasks.methods.bootstrap import Bootstrap, bootstrap_intervals, group_by_gathering
from herbray.tasks.methods.memory import PROCESS_MEMORY, describe_way_out, estimate_memory, measure_size
from herbray.tasks.mislabel import Mislabel

_log = logging.getLogger(__name__)


class Evaluate(Spec):
    """The evaluation job. Reads embeddings folders, writes one table of results in long form.

    Next to `results.parquet` it writes `results-outcomes/`, the contribution of each specimen to the results, and
    `results-comparisons.parquet`, the comparison of each pair of kinds of encoder on the same specimens.
    """

    embeddings: tuple[Path, ...] = Field((Path("runs/embeddings"),), description="folders, or folders of such folders")
    tasks: tuple[AnyTask, ...] = Field((Identify(), Discriminate(), Mislabel()), description="what to measure")
    out: Path = Field(
        Path("runs/results.parquet"), description="table of results; further tables are written next to it"
    )
    bootstrap: Bootstrap = Field(Bootstrap(), description="for intervals and comparisons; resamples=0 omits both")
    champion: AnyRule = Field(PromotionRule(), description="when a version becomes champion; see `herbray promote`")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(89, description="seed of folds, draws and resampling")


@dataclass(frozen=True)
class _Part:
    """The work of one Ray task: one encoder, one part of a task, one split."""

    folder: Path
    task: TaskSpec
    split: str
    memory: int  # bytes, beside the embeddings


def evaluate(spec: Evaluate, announced: Collection[LeftOut] = ()) -> pa.Table:
    """Compute the results, write them, log them to each encoder's run, and update the alias `champion`.

    Parts of tasks that the labels do not allow are left out. They are printed before anything is computed, and listed
    in `results-left-out.parquet`. `tasks.select_scorable` says which cases are errors instead.

    The results of finished Ray tasks are kept next to `out` until all results are written, so an evaluation that was
    killed resumes.

    A model without a champion gets its first one. Another version replaces the champion by the rule of
    `herbray promote`, if the champion is evaluated in the same job.

    Args:
        spec: the job.
        announced: what has already been printed as left out.

    Returns:
        The results, in `schema.RESULT`.

    Raises:
        ValueError: no embeddings, an unknown split, or a task that the labels do not allow.
    """
    folders = embeddings_folders(spec.embeddings)
    distinct = distinct_encoders(folders)
    labels = {folder: read_labels(folder) for folder in folders}
    allowed = {folder: select_scorable(spec.tasks, labels[folder], spec.seed) for folder in folders}
    left_out = _merge_left_out(allowed)
    connection.print_left_out(describe_left_out([each for each in left_out if each not in announced]))
    dims = {folder: read_dim(folder) for folder in folders}
    parts = [
        _Part(f, part, name, estimate_memory(part, measure_size(part, labels[f], name, dims[f])))
        for f in folders
        for task, name in allowed[f].pieces
        for part in task.parts()
    ]
    with connection.connect():
        _refuse_too_large(parts, connection.living_nodes())
        found = _measure_parts(spec, folders, parts)
        results = pa.concat_tables(partial.results for folder in distinct for partial in found[folder])
        results = results.sort_by([(name, "ascending") for name in schema.RESULT.names[:-1]])
        files = write_outcomes(spec.out, {str(f): [partial.outcomes for partial in found[f]] for f in distinct})
        compared = compare_encoders(files, spec.bootstrap, spec.seed)
    tables.write(comparisons_file(spec.out), compared)
    tables.write(left_out_file(spec.out), to_left_out_table(left_out))
    tables.write(spec.out, results)
    write_back(spec.store, spec.champion, spec.seed, [_collect(folder, found[folder]) for folder in folders])
    PartialResults(spec.out).clear()
    return results


def _merge_left_out(allowed: Mapping[Path, ScorableTasks]) -> list[LeftOut]:
    """The parts left out; if a part is left out for some encoders only, its reason names their folders."""
    folders: dict[LeftOut, list[str]] = {}
    for folder, judged in allowed.items():
        for each in judged.left_out:
            folders.setdefault(each, []).append(folder.name)
    return [
        each if len(names) == len(allowed) else replace(each, reason=f"{each.reason} (of {', '.join(names)})")
        for each, names in folders.items()
    ]


def _collect(folder: Path, found: Sequence[PartialResult]) -> EncoderResults:
    """All results of one encoder."""
    return EncoderResults(
        folder, *(pa.concat_tables(getattr(each, name) for each in found) for name in ("results", "outcomes"))
    )


def left_out_file(results: Path) -> Path:
    """The file that lists the parts left out: `results.parquet` → `results-left-out.parquet`."""
    return results.with_name(f"{results.stem}-left-out.parquet")


def distinct_encoders(folders: Sequence[Path]) -> list[Path]:
    """The folders without duplicates: of several folders with the same encoder of the same kind, only the first.

    Raises:
        ValueError: two such folders hold embeddings of different shards, which the results could not distinguish.
    """
    first: dict[tuple[str, str], tuple[Path, str]] = {}
    for folder in folders:
        note = read_note(folder)
        earlier, shards = first.setdefault((note["encoder"], note["kind"]), (folder, note["shards"]))
        if shards != note["shards"]:
            raise ValueError(
                f"{earlier} and {folder} hold embeddings of different shards by the same encoder, which the results "
                "cannot distinguish: evaluate them separately, e.g. "
                f"`herbray evaluate embeddings={folder} out={folder.name}.parquet`"
            )
        if earlier != folder:
            _log.warning("%s holds the same encoder as %s: the results contain it once", folder.name, earlier.name)
    return [folder for folder, _ in first.values()]


def embeddings_folders(paths: Sequence[Path]) -> list[Path]:
    """The folders with embeddings among the paths: each path itself, or its subfolders.

    Raises:
        ValueError: a path holds no finished embeddings, or embeddings that have no manifest.
    """
    found: list[Path] = []
    for path in paths:
        for split in sorted([*storage.glob(path, "split=*"), *storage.glob(path, "*/split=*")]):
            if not storage.is_file(split.parent / "manifest.json"):
                raise storage.MissingFile(split.parent / "manifest.json", embeddings_remedy(split.parent))
        own = storage.is_file(path / "manifest.json")
        inside = [path] if own else [note.parent for note in storage.glob(path, "*/manifest.json")]
        if not inside:
            raise ValueError(f"{path}: no finished embeddings here; run `herbray embed` first")
        found += inside
    return found


def _measure_parts(spec: Evaluate, folders: Sequence[Path], parts: Sequence[_Part]) -> dict[Path, list[PartialResult]]:
    """The result of every part, by folder, in the order of the parts. Parts measured earlier are read from files."""
    kept = PartialResults(spec.out)
    prints = {folder: fingerprint_embeddings(folder) for folder in folders}
    keys = [_part_key(spec, part, prints[part.folder]) for part in parts]
    done = {number: found for number, key in enumerate(keys) if (found := kept.read(key))}
    left = [number for number in range(len(parts)) if number not in done]
    with connection.progress() as bar:
        job = bar.add_task("evaluate", total=len(parts), completed=len(done), begun=len(done), unit="task")
        for number, found in _measure_on_ray(spec, parts, left):
            done[number] = found
            kept.write(keys[number], found)
            bar.advance(job)
    return {folder: [done[n] for n, part in enumerate(parts) if part.folder == folder] for folder in folders}


def _measure_on_ray(spec: Evaluate, parts: Sequence[_Part], left: Sequence[int]) -> Iterator[tuple[int, PartialResult]]:
    """Numbers and results of the parts that are left, in the order in which they finish.

    Two tasks per CPU are submitted at once, so that no CPU waits. Only the embeddings that submitted tasks need are in
    memory.
    """
    run = ray.remote(max_retries=2)(_measure)
    cpus, memory = _largest_node(connection.living_nodes())
    most = 2 * max(1, int(connection.total_resource("CPU")))
    waiting = deque(left)
    submitted: dict[Any, int] = {}
    folder: Path | None = None
    stored: Any = None
    note: dict[str, Any] = {}
    while waiting or submitted:
        while waiting and len(submitted) < most:
            part = parts[number := waiting.popleft()]
            if part.folder != folder:  # the parts of a folder are consecutive; Ray keeps what running tasks use
                folder = part.folder
                stored, note = ray.put(load_embeddings(folder)), read_note(folder)
            needs = {"num_cpus": min(part.task.threads, cpus), "memory": min(part.memory, memory)}
            submitted[run.options(**needs).remote(part, stored, note, spec.bootstrap, spec.seed)] = number
        ended, _ = ray.wait(list(submitted), num_returns=1)
        yield submitted.pop(ended[0]), connection.fetch_result(ended[0])


def _refuse_too_large(parts: Sequence[_Part], nodes: Sequence[Node]) -> None:
    """Refuse tasks that no node has memory for, before anything is computed.

    Raises:
        ValueError: a line for each such task, with the figure and the setting that would make it fit.
    """
    _, most = _largest_node(nodes)
    lines = [
        f"task {part.task.name} on {part.split} needs about {part.memory / 2**30:.1f} GiB, but the largest node offers "
        f"{most / 2**30:.1f} GiB: {describe_way_out(part.task)}"
        for part in parts
        if part.memory - PROCESS_MEMORY > most
    ]
    if lines:
        raise ValueError("\n".join(dict.fromkeys(lines)))


def _largest_node(nodes: Sequence[Node]) -> tuple[float, int]:
    """The most CPUs and the most memory of a node that runs tasks."""
    used = [node for node in nodes if node.cpus > 0] or [Node(1.0)]
    return max(node.cpus for node in used), int(max(node.memory for node in used))


def _part_key(spec: Evaluate, part: _Part, embeddings: str) -> str:
    settings = [each.model_dump(mode="json") for each in (part.task, spec.bootstrap)]
    return fingerprint_json(embeddings, settings, part.split, spec.seed, __version__, fingerprint_code())


def _measure(
    part: _Part, embeddings: Embeddings, note: dict[str, Any], bootstrap: Bootstrap, seed: int
) -> PartialResult:
    measured = part.task.measure(embeddings, part.split, seed)
    outcomes = group_by_gathering(measured.outcomes, embeddings)
    scores = measured.scores + bootstrap_intervals(outcomes, bootstrap, seed)
    identity = identity_from_manifest(note)
    return PartialResult(to_result_table(scores, identity), to_outcome_table(outcomes, identity))
