"""Rivals: rows of any genus, all genera alike, that a batch has beside its groups (see `plan.epoch_plan`)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def any_genus(names: Sequence[str], rows: Ints, many: int, rng: np.random.Generator) -> Ints:
    """So many bags with replacement: a random genus, all alike, and of it the bag of a random row.

    Args:
        names: the genus of each bag.
        rows: of each bag.
        many: bags to draw.
        rng: where from.

    Returns:
        Int64 [many], places of bags.
    """
    kinds, genus = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    by_genus = np.argsort(genus, kind="stable")
    ends = np.cumsum(rows[by_genus])  # of the bags, one genus after the other
    sizes = np.bincount(genus, weights=rows, minlength=len(kinds)).astype(np.int64)
    first = np.cumsum(sizes) - sizes
    drawn = rng.integers(len(kinds), size=many)
    return by_genus[np.searchsorted(ends, first[drawn] + rng.integers(sizes[drawn]), side="right")]


def any_row(rows: Ints, batches: int, rivals: int, rng: np.random.Generator) -> Ints:
    """For every batch so many bags of a window's stock, all alike, and a row of each.

    Args:
        rows: of each bag of the stock.
        batches: of the window.
        rivals: of a batch.
        rng: where from.

    Returns:
        Int64 [batches, rivals, 2], place of the bag and row in it.
    """
    bag = rng.integers(len(rows), size=(batches, rivals))
    return np.stack([bag, rng.integers(rows[bag])], axis=-1)
