"""Decide from labels alone, before anything is embedded, which parts of tasks can be scored and which are left out.

Each task is checked on each of its splits, at each of its ranks or pairs. Parts that the labels do not allow are left
out. It is an error if a split, rank or pair that the user wrote in the settings of a task cannot be scored anywhere, or
if nothing can be scored at all. Entries of a preset count as written by the user.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from herbray import schema
from herbray.tasks.interface.base import PAPER_SEED, TaskSpec
from herbray.tasks.interface.embeddings import Embeddings, UnscorableError
from herbray.tasks.interface.validators import parse_splits

_Row = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str]
"""Tasks, splits and levels that share a line, and the reason."""


@dataclass(frozen=True)
class LeftOut:
    """A part of a task that the labels do not allow: a row of `schema.LEFT_OUT`.

    Attributes:
        task: name of the task.
        split: split on which the part was checked.
        level: rank or pair; "" for the whole task.
        reason: what is missing, in words.
    """

    task: str
    split: str
    level: str
    reason: str = field(compare=False)


@dataclass(frozen=True)
class ScorableTasks:
    """The parts of tasks that can be scored.

    Attributes:
        pieces: tasks narrowed to the parts that can be scored, each with the split on which it can be scored.
        left_out: the parts that cannot be scored.
    """

    pieces: tuple[tuple[TaskSpec, str], ...]
    left_out: tuple[LeftOut, ...]


def select_scorable(tasks: Sequence[TaskSpec], labels: Embeddings, seed: int = PAPER_SEED) -> ScorableTasks:
    """Narrow tasks to the parts that the labels allow.

    Args:
        tasks: tasks with the settings of the user.
        labels: specimens that will be embedded; their features are not read.
        seed: seed of the tasks.

    Raises:
        UnscorableError: parts that the user named cannot be scored (one line each), or no part can be scored.
    """
    pieces: list[tuple[TaskSpec, str]] = []
    left_out: list[LeftOut] = []
    errors: list[str] = []
    for task in tasks:
        kept, out = _narrow_task(task, labels, seed)
        errors += _unscorable_requests(task, kept, out)
        pieces += kept
        left_out += out
    if errors:
        raise UnscorableError("\n".join(errors))
    if not pieces:
        why = "\n".join(f"  {line}" for line in describe_left_out(left_out))
        raise UnscorableError(
            "no task can be scored with these labels: add more sheets, raise splits.cap if it leaves sheets out, hold "
            f"out a larger share of them (splits.random), or lower `folds` of the tasks\n{why}"
        )
    return ScorableTasks(tuple(pieces), tuple(dict.fromkeys(left_out)))


def add_rank(tasks: Iterable[TaskSpec], rank: str) -> tuple[TaskSpec, ...]:
    """Add a rank to the ranks at which tasks are scored, unless the user named the ranks of a task.

    The rank may be left out if the labels do not allow it, as if it were a default of the task.
    """
    return tuple(_add_rank(task, rank) for task in tasks)


def _add_rank(task: TaskSpec, rank: str) -> TaskSpec:
    ranks = getattr(task, "ranks", None)
    if ranks is None or rank in ranks or "ranks" in task.model_fields_set:
        return task
    return task.narrow_to(ranks=(rank, *ranks))


def describe_left_out(left_out: Collection[LeftOut], absent: Mapping[str, str] | None = None) -> list[str]:
    """Lines that say what is left out, and why; parts that share a reason share a line where possible.

    Args:
        left_out: parts of tasks.
        absent: empty splits, and why they are empty; tasks on these splits are not listed separately.
    """
    absent = absent or {}
    parts = [one for one in left_out if one.level or one.split not in absent]
    rows: list[_Row] = [((one.task,), (one.split,), (one.level,), one.reason) for one in parts]
    for place in (0, 1, 2):
        rows = _merge_rows(rows, place)
    rows.sort(key=lambda row: any(row[2]))  # whole splits first
    lines = [f"split {split}: {why}" for split, why in absent.items()]
    for tasks, splits, levels, reason in rows:
        at = f" at {', '.join(levels)}" if any(levels) else ""
        lines.append(f"{', '.join(tasks)}{at} on {', '.join(splits)}: {reason}")
    return lines


def _merge_rows(rows: Sequence[_Row], place: int) -> list[_Row]:
    """Merge rows that differ only in their tasks (`place` 0), splits (1) or levels (2)."""
    found: dict[tuple[object, ...], _Row] = {}
    for row in rows:
        rest = (*row[:place], *row[place + 1 :])
        before = found.get(rest)
        names = tuple(dict.fromkeys([*(before[place] if before else ()), *row[place]]))
        tasks, splits, levels = (names if at == place else row[at] for at in (0, 1, 2))
        found[rest] = (tuple(tasks), tuple(splits), tuple(levels), row[3])
    return list(found.values())


def to_left_out_table(left_out: Collection[LeftOut]) -> pa.Table:
    """The parts left out as a `schema.LEFT_OUT` table."""
    return pa.Table.from_pylist([vars(one) for one in left_out], schema=schema.LEFT_OUT)


def _narrow_task(task: TaskSpec, labels: Embeddings, seed: int) -> tuple[list[tuple[TaskSpec, str]], list[LeftOut]]:
    """The parts of a task that can be scored on each split that has specimens, and the parts that cannot."""
    there = set(labels.split)
    kept: dict[str, TaskSpec] = {}
    left_out: list[LeftOut] = []
    for pooled in task.splits:
        empty = [split for split in parse_splits(pooled) if split not in there]
        left_out += [LeftOut(task.name, split, "", "no specimen is in this split") for split in empty]
        split = "+".join(part for part in parse_splits(pooled) if part in there)
        if not split or split in kept:
            continue
        entries, out = _narrow_on_split(task, labels, split, seed)
        left_out += out
        if entries:
            kept[split] = task.narrow_to(**entries)
    return [(narrow, split) for split, narrow in kept.items()], left_out


def _narrow_on_split(
    task: TaskSpec, labels: Embeddings, split: str, seed: int
) -> tuple[dict[str, tuple[object, ...]], list[LeftOut]]:
    """Settings, including `splits`, that narrow a task to the parts that can be scored on a split; {} if none can."""
    kept: list[TaskSpec] = []
    left_out: list[LeftOut] = []
    for part in task.split_for_check():
        try:
            part.check(labels, split, seed)
        except UnscorableError as error:
            left_out.append(LeftOut(task.name, split, "+".join(_entry_names(part)), error.reason))
        else:
            kept.append(part)
    if not kept:
        return {}, left_out
    entries = tuple(entry for part in kept for entry in _checked_entries(part))
    return {"splits": (split,)} | ({task.checked_over: entries} if task.checked_over else {}), left_out


def _checked_entries(task: TaskSpec) -> tuple[object, ...]:
    """The ranks or pairs that are checked one by one."""
    return tuple(getattr(task, task.checked_over)) if task.checked_over else ()


def _entry_names(task: TaskSpec) -> Iterator[str]:
    return (
        entry if isinstance(entry, str) else str(getattr(entry, "level", entry)) for entry in _checked_entries(task)
    )


def _unscorable_requests(
    task: TaskSpec, kept: Sequence[tuple[TaskSpec, str]], left_out: Sequence[LeftOut]
) -> Iterator[str]:
    """A line for each split, rank or pair that the user wrote and that cannot be scored anywhere."""
    named = task.model_fields_set
    if "splits" in named:
        scorable = {part for _, split in kept for part in parse_splits(split)}
        for split in task.splits:
            if not scorable & set(parse_splits(split)):
                yield _describe_request(
                    task, "splits", split, [one for one in left_out if one.split in parse_splits(split)]
                )
    if task.checked_over in named:
        found = {name for narrow, _ in kept for name in _entry_names(narrow)}
        for name in _entry_names(task):
            if name not in found:
                yield _describe_request(
                    task, str(task.checked_over), name, [one for one in left_out if one.level in (name, "")]
                )


def _describe_request(task: TaskSpec, setting: str, entry: str, left_out: Sequence[LeftOut]) -> str:
    why = "; ".join(dict.fromkeys(f"on {one.split}: {one.reason}" for one in left_out))
    return f"task {task.name}: {entry}, listed in `{setting}`, cannot be scored ({why}): remove it from `{setting}`"
