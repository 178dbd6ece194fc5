"""Wrong names planted into names that are right, in the ways in which names go wrong."""

from typing import Final, Literal

import numpy as np

from herbray.tasks.interface.embeddings import Indices, UnscorableError

Kind = Literal["random", "kin", "gatherings"]

KINDS: Final[dict[Kind, str]] = {
    "random": "single sheets get the name of any other class",
    "kin": "single sheets get the name of another class of the same next higher rank, such as a species of the genus",
    "gatherings": "all sheets of a gathering of several sheets get one name of another class",
}


def plant_wrong_names(
    truth: Indices, kin: Indices, units: Indices, kind: Kind, share: float, least: int, generator: np.random.Generator
) -> Indices:
    """Give a share of the rows, rounded, a wrong name drawn by the frequency of names; one at least.

    Args:
        truth: [n] classes, 0 to k-1; every class occurs.
        kin: [k] a number for each class, equal for classes of the same next higher rank.
        units: [n] code of the gathering of each row.
        kind: one of `KINDS`.
        share: of all rows; fewer get a wrong name if fewer can.
        least: rows that every class keeps, so that it can still be learned.
        generator: of the draws.

    Returns:
        The names [n], as classes.

    Raises:
        UnscorableError: no row can get such a name.
    """
    _, unit, many = np.unique(units, return_inverse=True, return_counts=True)
    frequency = np.bincount(truth).astype(np.float64)
    related = np.bincount(kin[truth], minlength=int(kin.max()) + 1)[kin] > frequency  # has kin of another name
    if kind == "gatherings":
        parts = [np.flatnonzero(unit == each) for each in generator.permutation(np.flatnonzero(many > 1))]
    else:
        rows = np.arange(len(truth)) if kind == "random" else np.flatnonzero(related[truth])
        parts = [np.array([row]) for row in generator.permutation(rows)]
    if not parts or len(frequency) < 2:
        raise UnscorableError(f"no sheet can get a wrong name of kind {kind!r}: {KINDS[kind]}")
    given, planted = truth.copy(), 0
    kept = np.bincount(truth)
    for part in parts:
        if planted >= max(1, round(share * len(truth))):
            break
        true = truth[part[0]]
        if kept[true] - len(part) < least:
            continue
        kept[true] -= len(part)
        weights = np.where(kin == kin[true], frequency, 0.0) if kind == "kin" else frequency.copy()
        weights[truth[part]] = 0.0
        given[part] = generator.choice(len(weights), p=weights / weights.sum())
        planted += len(part)
    if not planted:
        raise UnscorableError(f"every name has too few sheets for one to get a wrong name of kind {kind!r}")
    return given
