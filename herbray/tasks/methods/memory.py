"""How much memory a task needs, estimated from its numbers of rows and classes and the length of an embedding."""

from dataclasses import dataclass
from typing import Final

from herbray.tasks.interface.base import TaskSpec
from herbray.tasks.interface.embeddings import Embeddings
from herbray.tasks.interface.validators import parse_splits
from herbray.tasks.methods.probe import LinearTask

PROCESS_MEMORY: Final = 600 * 2**20
"""Bytes that a process needs for its libraries and for blocks of fixed size, whatever the task."""

_ROW: Final = 500  # bytes of labels, ids, scores and outcomes of a row
_HISTORY: Final = 40  # numbers of 32 bits that a solver keeps for each coefficient
_GROUP_ROW: Final = 80 * 16  # bytes of a row's labels and weights in a group of small fits
_NEIGHBOUR: Final = 60  # bytes of a neighbour of a row, with the votes


@dataclass(frozen=True)
class Size:
    """What determines the cost of a task.

    Attributes:
        rows: specimens that the task reads.
        classes: names at the rank with the most names.
        dim: length of an embedding.
    """

    rows: int
    classes: int
    dim: int

    def __str__(self) -> str:
        """For messages."""
        return f"{self.rows:,} specimens × {self.dim:,}, {self.classes:,} classes"


def measure_size(task: TaskSpec, labels: Embeddings, split: str, dim: int) -> Size:
    """The size of a task on a split.

    Args:
        task: the task.
        labels: the specimens; their features are not read.
        split: one of the task's splits.
        dim: length of an embedding.
    """
    pools = [split, getattr(task, "fitted_on", split)]
    named = {part for pool in pools for part in parse_splits(pool)}
    there = labels.take(labels.split.isin(named))
    ranks = getattr(task, "ranks", ("institution",) if task.name == "leakage" else ())
    return Size(len(there), max([2, *(len(set(there.rank(rank).codes.tolist())) for rank in ranks)]), dim)


def estimate_memory(task: TaskSpec, size: Size) -> int:
    """Bytes of memory that a process needs for a task, beside the embeddings, which all tasks of a node share."""
    found = PROCESS_MEMORY + size.rows * _ROW
    if isinstance(task, LinearTask):
        found += _fit_memory(task, size)
    neighbours = getattr(task, "neighbours", getattr(task, "k", 0))
    if neighbours:
        found += size.rows * (4 * size.dim + _NEIGHBOUR * min(neighbours, size.rows))
    return found


def _fit_memory(task: LinearTask, size: Size) -> int:
    coefficients = (1 if size.classes == 2 else size.classes) * (size.dim + 1)
    if task.solver == "sklearn":  # everything at once in 64 bits: features three times, probabilities three times
        return 8 * (3 * size.rows * size.dim + 3 * size.rows * size.classes + _HISTORY * coefficients)
    return size.rows * (4 * size.dim + _GROUP_ROW) + 4 * _HISTORY * max(coefficients, 80 * (size.dim + 1))


def describe_way_out(task: TaskSpec) -> str:
    """The setting with which a task that is too large would need less memory."""
    if isinstance(task, LinearTask) and task.solver == "sklearn":
        return "set solver=torch for this task"
    return "leave the task out of `tasks`, or embed and evaluate a smaller split"
