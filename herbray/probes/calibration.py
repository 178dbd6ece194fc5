"""Calibration of probabilities: temperature and isotonic regression, and how far probabilities are from frequencies.

There are no folds here. To calibrate honestly, fit on the rows of other gatherings and apply to the held-out ones.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.isotonic import isotonic_regression

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_TEMPERATURES: Final = (0.05, 20.0)
_LEAST: Final = 1e-300  # of a probability whose logarithm is taken
_CLOSEST: Final = 1e-6  # of a probability to 0 and 1 in a loss


def fit_temperature(probabilities: Floats, labels: Indices, weights: Floats | None = None) -> float:
    """Find the temperature that minimises the negative log likelihood (Guo et al. 2017, arXiv 1706.04599).

    Args:
        probabilities: [n, k], rows add up to 1.
        labels: [n] the true classes.
        weights: [n] of the rows; None: equal.

    Returns:
        The temperature, from 0.05 to 20; 1 if there are no rows. Above 1, the probabilities were too sure.
    """
    if not len(labels):
        return 1.0
    logits = np.log(np.maximum(probabilities, _LEAST))
    own = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(axis=1)
        sums = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.average(sums - own / np.exp(log_temperature), weights=weights))

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x))


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities [n, k] to the power of 1 / temperature, rows scaled to add up to 1."""
    logits = np.log(np.maximum(probabilities, _LEAST)) / temperature
    scaled: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


@dataclass(frozen=True, eq=False)
class Monotone:
    """A function that never falls, from scores to probabilities: linear between knots, constant beyond them.

    Attributes:
        knots: [j] ascending scores; none: every score gets 0.5.
        values: [j] probabilities.
    """

    knots: Floats
    values: Floats

    def apply(self, scores: Floats) -> Floats:
        """Probabilities of some scores, in their shape."""
        if not len(self.knots):
            return np.full(np.shape(scores), 0.5)
        found: Floats = np.interp(scores, self.knots, self.values)
        return found


def fit_isotonic(scores: Floats, hits: Mask, weights: Floats | None = None) -> Monotone:
    """Fit P(hit | score) by isotonic regression (Zadrozny & Elkan 2002, doi 10.1145/775047.775151).

    Each step of the regression pools rows; its probability is (hits + 0.5) / (rows + 1), so that no finite number of
    rows makes a probability 0 or 1. Between the mean scores of the steps, the function is linear.

    Args:
        scores: [n].
        hits: [n] whether the name, or whatever is scored, was right.
        weights: [n] of the rows, 1 on average; None: equal.
    """
    if not len(scores):
        return Monotone(np.empty(0), np.empty(0))
    weights = np.ones(len(scores)) if weights is None else weights
    levels, place = np.unique(scores, return_inverse=True)
    rows = np.bincount(place, weights)
    right = np.bincount(place, weights * hits)
    steps = isotonic_regression(right / rows, sample_weight=rows)
    step = np.cumsum(np.r_[0, np.diff(steps) > 0])
    total = np.bincount(step, rows)
    values = (np.bincount(step, right) + 0.5) / (total + 1)
    knots = np.bincount(step, rows * levels) / total
    return Monotone(knots, np.maximum.accumulate(values))


def calibration_error(probabilities: Floats, hits: Mask, bins: int = 15) -> float:
    """The expected calibration error: the mean distance of probability and frequency, in bins of equal counts.

    Args:
        probabilities: [n] of a hit.
        hits: [n].
        bins: at most this many.
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(probabilities[part].mean() - hits[part].mean()) * len(part) for part in parts]
    return float(np.sum(gaps) / max(1, len(order)))


def brier(probabilities: Floats, hits: Mask) -> float:
    """The mean squared difference of probability and hit."""
    return float(np.mean((probabilities - hits) ** 2))


def log_loss(probabilities: Floats, hits: Mask) -> float:
    """The mean negative logarithm of the probability of what happened."""
    own: npt.NDArray[Any] = np.where(hits, probabilities, 1.0 - probabilities)
    return float(-np.log(np.clip(own, _CLOSEST, 1.0)).mean())
