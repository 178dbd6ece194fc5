"""How good a list of suspects is, by the verdicts of reviewers on some of its sheets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.stats import norm

from herbray.tasks.interface.embeddings import Floats, Indices, Mask
from herbray.tasks.methods.bootstrap import resampled_means

FIRST: Final = (10, 50, 200, 1000)
"""Lengths of the head of the list whose share of wrong names is reported."""


@dataclass(frozen=True)
class Share:
    """A share of wrong names, with its interval.

    Attributes:
        first: place in the list at which the part begins, from 1.
        last: place at which it ends.
        judged: sheets of the part with a decision.
        gatherings: of these sheets.
        value: share of wrong names among the judged sheets.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    first: int
    last: int
    judged: int
    gatherings: int
    value: float
    low: float
    high: float


def measure_share(
    places: Indices, wrong: Mask, units: Indices, first: int, last: int, level: float = 0.95
) -> Share | None:
    """The share of wrong names in a part of the list; None if none of its sheets is judged.

    The interval is that of Wilson (1927), with the number of gatherings as sample size: sheets of one gathering share
    one identification, so they count as one observation. Unlike a bootstrap, it says something about few sheets that
    are all wrong.

    Args:
        places: [n] place in the list of each judged sheet, from 1.
        wrong: [n] whether its name is wrong.
        units: [n] a number for each gathering.
        first: place at which the part begins.
        last: place at which it ends.
        level: confidence level.
    """
    part = (places >= first) & (places <= last)
    if not part.any():
        return None
    value, size = float(wrong[part].mean()), len(np.unique(units[part]))
    z = float(norm.ppf(0.5 + level / 2))
    centre = (value + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * float(np.sqrt(value * (1 - value) / size + z * z / (4 * size * size)))
    return Share(first, last, int(part.sum()), size, value, max(0.0, centre - half), min(1.0, centre + half))


def measure_precisions(places: Indices, wrong: Mask, units: Indices, first: Sequence[int] = FIRST) -> list[Share]:
    """Precision at n: `measure_share` of the first n of the list, for each n in which more sheets are judged."""
    found: list[Share] = []
    for n in first:
        share = measure_share(places, wrong, units, 1, n)
        if share and (not found or share.judged > found[-1].judged):
            found.append(share)
    return found


def measure_stretches(places: Indices, wrong: Mask, units: Indices, length: int) -> list[Share]:
    """The share of wrong names down the list, by stretches that grow; those without a judged sheet are left out."""
    ends = [0, *(n for n in FIRST if n < length), length]
    parts = [measure_share(places, wrong, units, a + 1, b) for a, b in pairwise(ends)]
    return [each for each in parts if each]


def measure_average_precision(places: Indices, wrong: Mask) -> float:
    """Mean, over the wrong names, of the precision at their places in the list of the judged sheets.

    Raises:
        ValueError: no name is wrong.
    """
    if not wrong.any():
        raise ValueError("no judged name is wrong, so there is no average precision")
    ordered = wrong[np.argsort(places, kind="stable")]
    precision = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return float(precision[ordered].mean())


def resample_average_precision(
    places: Indices, wrong: Mask, units: Indices, seed: int, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile interval, 95 %, of the average precision: wrong names are drawn again by gathering.

    The list stays fixed; each wrong name contributes the precision at its place.
    """
    order = np.argsort(places, kind="stable")
    precision: Floats = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    hits = wrong[order]
    columns = precision[hits][:, None], np.ones((int(hits.sum()), 1))
    means = resampled_means(*columns, resamples, seed, units[order][hits].astype(object))
    low, high = np.nanpercentile(means[:, 0], (2.5, 97.5))
    return float(low), float(high)
