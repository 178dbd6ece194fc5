"""Confident learning from blocks of probabilities: what cleanlab finds, without a matrix of rows × classes.

cleanlab's `find_label_issues(filter_by="prune_by_noise_rate")` (Northcutt et al. 2021, doi 10.1613/jair.1.12125) reads
all probabilities at once and counts in a matrix of classes × classes. Here the probabilities are read three times,
block by block, and only the pairs of classes that occur are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from cleanlab.internal.util import round_preserving_sum

from herbray.tasks.interface.embeddings import Floats, Indices, Mask

_MARGIN: Final = 1e-6  # cleanlab's: probabilities that differ by less are equal
_LEAST_THRESHOLD: Final = 2e-6


class ProbabilityBlocks(Protocol):
    """Probabilities of n rows and k classes that can be read several times.

    Attributes:
        shape: n and k.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """See the class."""

    def blocks(self) -> Iterator[tuple[Indices, Floats]]:
        """Rows [b] and their probabilities [b, k]; each row once."""


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of each row's probabilities.

    Attributes:
        own: [n] probability of the given label.
        predicted: [n] the most probable class.
        rival: [n] the most probable class other than the given label.
        rival_probability: [n] its probability.
        agrees: [n] whether no class is more probable than the given label, by more than a millionth.
    """

    own: Floats
    predicted: Indices
    rival: Indices
    rival_probability: Floats
    agrees: Mask


def summarise(given: Indices, probabilities: ProbabilityBlocks) -> Summary:
    """Read all blocks once.

    Args:
        given: [n] the labels, 0 to k-1.
        probabilities: of the n rows.
    """
    n = len(given)
    own, beside = np.empty(n), np.empty(n)
    predicted, rival = np.empty(n, np.intp), np.empty(n, np.intp)
    agrees = np.empty(n, dtype=bool)
    for rows, block in probabilities.blocks():
        here, label = np.arange(len(rows)), given[rows]
        own[rows], predicted[rows] = block[here, label], block.argmax(axis=1)
        others = block.copy()
        others[here, label] += _MARGIN
        agrees[rows] = others.argmax(axis=1) == label
        others[here, label] = -1.0
        rival[rows] = others.argmax(axis=1)
        beside[rows] = others[here, rival[rows]]
    return Summary(own, predicted, rival, beside, agrees)


def find_issues(given: Indices, probabilities: ProbabilityBlocks, summary: Summary) -> Mask:
    """Whether each label [n] is an issue: what cleanlab's `find_label_issues` returns, pruned by noise rate.

    Args:
        given: [n] the labels; each of the k classes occurs.
        probabilities: out-of-fold probabilities of the n rows.
        summary: of the same probabilities.
    """
    sizes = np.bincount(given, minlength=probabilities.shape[1])
    guessed = _guess(given, probabilities, summary, sizes)
    pruned = _count_pruned(given, guessed, sizes)
    flagged = np.zeros(len(given), dtype=bool)
    for rows, margins, counts in _iter_margins(given, probabilities, summary, pruned):
        for column, count in enumerate(counts):
            flagged[rows[np.argsort(-margins[:, column], kind="stable")[:count]]] = True
    return flagged & ~summary.agrees


def _guess(given: Indices, probabilities: ProbabilityBlocks, summary: Summary, sizes: Indices) -> Indices:
    """The class to which each row confidently belongs: [n], -1 if there is none."""
    means = np.bincount(given, summary.own, minlength=len(sizes)) / np.maximum(sizes, 1)
    threshold = np.where(sizes > 0, np.maximum(means, _LEAST_THRESHOLD), 2.0) - _MARGIN
    guessed = np.empty(len(given), np.intp)
    for rows, block in probabilities.blocks():
        confident = block >= threshold
        many = confident.sum(axis=1)
        guessed[rows] = np.where(many > 1, summary.predicted[rows], np.where(many, confident.argmax(axis=1), -1))
    return guessed


def _count_pruned(given: Indices, guessed: Indices, sizes: Indices) -> list[tuple[Indices, Indices]]:
    """For each given class: the other classes to which some of its rows probably belong, and how many rows."""
    known = np.flatnonzero(guessed >= 0)
    order = known[np.lexsort((guessed[known], given[known]))]
    bounds = np.searchsorted(given[order], np.arange(len(sizes) + 1))
    found = []
    for label, size in enumerate(sizes):
        counts = np.bincount(guessed[order[bounds[label] : bounds[label + 1]]], minlength=len(sizes))
        counts[label] = max(1, counts[label])  # at least one is right
        kept = _keep_one(label, round_preserving_sum(counts / counts.sum() * size))
        classes = np.flatnonzero(kept)
        found.append((classes, kept[classes]))
    return found


def _keep_one(label: int, counts: Indices) -> Indices:
    """The counts [k] of other classes in the rows of one, lowered so that one row of the class is left."""
    lack = max(0, 1 - counts[label])
    others = max(1.0, np.count_nonzero(counts) - 1.0)
    lowered: Indices = np.maximum(counts - lack / others, 0.0).astype(np.intp)
    lowered[label] = 0
    return lowered


def _iter_margins(
    given: Indices, probabilities: ProbabilityBlocks, summary: Summary, pruned: list[tuple[Indices, Indices]]
) -> Iterator[tuple[Indices, Floats, Indices]]:
    """For each class with rows to prune: its rows [m], the margins [m, j] of other classes, and their counts [j]."""
    widths = np.array([len(classes) for classes, _ in pruned])
    columns = np.concatenate([classes for classes, _ in pruned])
    first = np.cumsum(widths) - widths
    order = np.argsort(given, kind="stable")
    start = np.empty(len(given) + 1, np.int64)  # of each row's margins, rows in the order of their classes
    start[0], start[1:] = 0, np.cumsum(widths[given[order]])
    place = np.empty(len(given), np.intp)
    place[order] = np.arange(len(given))
    margins = np.empty(start[-1])
    for rows, block in probabilities.blocks():
        wide = widths[given[rows]]
        row = np.repeat(np.arange(len(rows)), wide)
        step = np.arange(wide.sum()) - np.repeat(np.cumsum(wide) - wide, wide)
        column = columns[first[given[rows]][row] + step]
        margins[start[place[rows]][row] + step] = block[row, column] - summary.own[rows][row]
    bounds = np.searchsorted(given[order], np.arange(len(pruned) + 1))
    for label in np.flatnonzero(widths):
        low, high = bounds[label], bounds[label + 1]
        yield order[low:high], margins[start[low] : start[high]].reshape(high - low, -1), pruned[label][1]
