"""How many names are wrong, and how probably each is, from calibrated probabilities of the names.

A model of how a sheet gets its name: it is the true name, or, at a rate r, a name drawn by frequency, one half from all
names and one half from the kin of the true name, those of the same next higher rank (a drawn name may be the true one).
If q is the calibrated probability of each true name given the image, the probability of the filed name i is then

    (1 - r) q_i  +  r d_i,    d_i = (p_i + Q_i p_i / P_i) / 2

where p_i is the frequency of i, and Q_i and P_i are the sums of q and p over the kin of i. The rate maximises the
likelihood of the filed names: a probe that is often unsure gives many right names a small q_i, which the first term
explains; wrong names are an excess of small q_i over that. (Label noise as part of the model: Mnih & Hinton 2012.)

The halves are an assumption. Names that are drawn from kin look like names of kin that the images do not tell apart, so
their rate cannot be estimated from the names.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.tasks.interface.embeddings import Floats, Indices

PRIOR: Final = 0.02
"""The rate that is expected of a collection of which nothing is known."""

PRIOR_STRENGTH: Final = 10.0
"""Number of names that `PRIOR` is worth."""

_ITERATIONS: Final = 200
_CLOSE: Final = 1e-6  # change of the rate at which the iteration ends
_LEAST: Final = 1e-300


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of the model for each of n names, without the rate.

    Attributes:
        own: [n] calibrated probability of the name.
        drawn: [n] probability of the name if it is drawn.
        wrong: [n] the same, without the case that the true name is drawn.
    """

    own: Floats
    drawn: Floats
    wrong: Floats

    def take(self, rows: Indices) -> "Terms":
        """The terms of some names."""
        return Terms(self.own[rows], self.drawn[rows], self.wrong[rows])

    def share_right(self, rate: float) -> Floats:
        """Probability [n] that each name was not drawn."""
        right = (1.0 - rate) * self.own
        share: Floats = right / np.maximum(right + rate * self.drawn, _LEAST)
        return share

    def find_wrong(self, rate: float) -> Floats:
        """Probability [n] that each name is wrong."""
        whole = np.maximum((1.0 - rate) * self.own + rate * self.drawn, _LEAST)
        return np.clip(rate * self.wrong / whole, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Kernel:
    """How drawn names are distributed.

    Attributes:
        frequency: [k] share of each name.
        kin: [k] a number for each name, from 0, equal for names of the same next higher rank.
        among: [k] share of each name among its kin.
    """

    frequency: Floats
    kin: Indices
    among: Floats

    @classmethod
    def of(cls, given: Indices, kin: Indices) -> "Kernel":
        """The kernel of names [n] of classes 0 to k-1, each of which occurs, with the kin [k] of each class."""
        frequency = np.bincount(given, minlength=len(kin)) / len(given)
        numbers = np.unique(kin, return_inverse=True)[1]
        return cls(frequency, numbers, frequency / np.bincount(numbers, frequency)[numbers])

    def sum_kin(self, block: Floats) -> Floats:
        """The sums [b, kin] of probabilities [b, k]."""
        order = np.argsort(self.kin, kind="stable")
        starts = np.searchsorted(self.kin[order], np.arange(int(self.kin.max()) + 1))
        sums: Floats = np.add.reduceat(block[:, order], starts, axis=1)
        return sums

    def terms(self, given: Indices, own: Floats, kin: Floats) -> Terms:
        """The terms of names [n], from their probabilities [n] and those of their kin [n]."""
        everywhere, among = 0.5 * self.frequency[given], 0.5 * self.among[given]
        wrong = everywhere * (1.0 - own) + among * np.maximum(kin - own, 0.0)
        return Terms(own, everywhere + among * kin, wrong)


def fit_rate(
    terms: Terms, prior: float = PRIOR, strength: float = PRIOR_STRENGTH, weights: Floats | None = None
) -> float:
    """The rate that maximises the likelihood of the names, by expectation maximisation.

    Args:
        terms: of n names that are independent of each other.
        prior: the rate that is expected.
        strength: number of names that the expectation is worth.
        weights: [n] of the names; None: 1.
    """
    weights = np.ones(len(terms.own)) if weights is None else weights
    rate, total = prior, float(weights.sum()) + strength
    for _ in range(_ITERATIONS):
        drawn = 1.0 - terms.share_right(rate)
        before, rate = rate, (float(weights @ drawn) + strength * prior) / total
        if abs(rate - before) < _CLOSE:
            break
    return rate
