"""Calibrated out-of-fold probabilities of names, from a probe and neighbours, fitted to names that may be wrong.

A linear probe is too sure of sheets unlike all others: it gives right names a probability of 1e-10. A temperature does
not help, since it changes all sheets alike. And a probe is too sure of names that images do not tell apart. So the
probability is a mixture of three experts, in proportions that are fitted with the temperature: the probe; the names of
the nearest sheets, which are coarse, but never that wrong; and the frequency of a name among its kin.

Some of the names that all of this is fitted to are wrong, and a temperature would take them for doubt of the probe.
So the rate of `error_rates` is fitted at the same time, by expectation maximisation: a row whose name is probably wrong
has little weight in the temperature. A wrong name among kin looks like kin that images do not tell apart; the third
expert only counts for what it explains beyond the rate that is expected.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.neighbours.search import NearestRows
from herbray.probes.calibration import apply_temperature, fit_temperature
from herbray.probes.linear import Probabilities
from herbray.tasks.interface.embeddings import Floats, Indices
from herbray.tasks.methods.probe import OutOfFold
from herbray.tasks.wrong_names.error_rates import PRIOR, Kernel, fit_rate

_CELLS: Final = 2**22  # probabilities that the temperatures are fitted on
_LEAST_ROWS: Final = 64  # of each fold, whatever the number of classes
_ROUNDS: Final = 6
_START: Final = (0.6, 0.3, 0.1)  # parts of probe, neighbours, kin

VOTERS: Final = 10
"""Number of nearest sheets that vote on a name."""

_SMOOTHING: Final = 0.1  # votes of a neighbour that are dealt to all names by frequency


@dataclass(frozen=True, eq=False)
class Votes:
    """The names of the nearest sheets of other gatherings.

    Attributes:
        near: of all r rows of a collection.
        rows: [n] the rows that the probes judge.
        classes: [r] the class of each row; -1 for none.
        frequency: [k] of each class.
    """

    near: NearestRows
    rows: Indices
    classes: Indices
    frequency: Floats

    def shares(self, rows: Indices) -> Floats:
        """The share [b, k] of each class in the votes of some of the n rows; a vote weighs (1 + cosine) / 2."""
        asked = self.rows[rows]
        near = self.near.neighbours[asked, :VOTERS]
        voters = np.where(self.near.valid[asked, :VOTERS], self.classes[near], -1)
        row, place = np.nonzero(voters >= 0)
        found: Floats = np.tile(_SMOOTHING * self.frequency, (len(rows), 1))
        np.add.at(found, (row, voters[row, place]), (1.0 + self.near.cosine[asked][row, place]) / 2.0)
        found /= found.sum(axis=1, keepdims=True)
        return found


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Probabilities of each row, from a probe, neighbours and a temperature that have not seen its gathering.

    Attributes:
        raw: the predictions of the probes.
        votes: of the neighbours of the same rows.
        temperatures: of each fold.
        parts: [3] of probe, neighbours and kin in the probabilities; add up to 1.
        kernel: of the classes.
        rate: at which names are wrong, over all rows; see `error_rates`.
    """

    raw: OutOfFold
    votes: Votes
    temperatures: tuple[float, ...]
    parts: Floats
    kernel: Kernel
    rate: float

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of classes."""
        return self.raw.shape

    def blocks(self) -> Iterator[tuple[Indices, Floats]]:
        """Rows [b] and their probabilities [b, k], block by block; each row once."""
        for fold, temperature in zip(self.raw.folds, self.temperatures, strict=True):
            for part, block in fold.probabilities.by_rows():
                rows = fold.test[part]
                experts = _list_experts(apply_temperature(block, temperature), self.votes.shares(rows), self.kernel)
                yield rows, np.tensordot(self.parts, experts, axes=1)


def calibrate(raw: OutOfFold, given: Indices, votes: Votes, kernel: Kernel, seed: int) -> Calibrated:
    """Fit a temperature for each fold on the rows of the other folds; and the part of the votes and the rates on all.

    Of large collections, rows are drawn, because few numbers are fitted.

    Args:
        raw: the predictions.
        given: [n] the labels, 0 to k-1.
        votes: of the neighbours of the n rows.
        kernel: how wrong names are distributed.
        seed: of the rows that are drawn.
    """
    rows, fold, dense = _draw(raw, seed)
    labels, shares = given[rows], votes.shares(rows)
    here = np.arange(len(rows))
    weights, parts, rate = np.ones(len(rows)), np.array(_START), PRIOR
    temperatures = [1.0] * len(raw.folds)
    tempered = dense.copy()
    for _ in range(_ROUNDS):
        for number in range(len(raw.folds)):
            others = fold != number
            temperatures[number] = fit_temperature(dense[others], labels[others], weights[others])
            tempered[~others] = apply_temperature(dense[~others], temperatures[number])
        experts = _list_experts(tempered, shares, kernel)
        mixed = np.tensordot(parts, experts, axes=1)
        terms = kernel.terms(labels, mixed[here, labels], kernel.sum_kin(mixed)[here, kernel.kin[labels]])
        rate = fit_rate(terms)
        by_expert = parts[:, None] * experts[:, here, labels] * (terms.share_right(rate) / terms.own)
        explained = by_expert.sum(axis=1)
        explained[2] = max(0.0, explained[2] - PRIOR * len(rows))
        weights, parts = by_expert[0], explained / explained.sum()
    return Calibrated(raw, votes, tuple(temperatures), parts, kernel, rate)


def _list_experts(tempered: Floats, shares: Floats, kernel: Kernel) -> Floats:
    """The probabilities of the three experts: [3, b, k]."""
    kin = kernel.sum_kin(0.5 * (tempered + shares))[:, kernel.kin] * kernel.among
    return np.stack([tempered, shares, kin])


def _draw(raw: OutOfFold, seed: int) -> tuple[Indices, Indices, Floats]:
    """Some rows, the fold of each, and their probabilities."""
    generator = np.random.default_rng(seed)
    most = max(_LEAST_ROWS, _CELLS // raw.shape[1] // len(raw.folds))
    rows, folds, found = [], [], []
    for number, each in enumerate(raw.folds):
        part = np.arange(len(each.test))
        if len(part) > most:
            part = np.sort(generator.choice(part, most, replace=False))
        own = each.probabilities
        rows.append(each.test[part])
        folds.append(np.full(len(part), number))
        found.append(Probabilities(own.probe, own.features, own.rows[part]).dense())
    return np.concatenate(rows), np.concatenate(folds), np.concatenate(found)
