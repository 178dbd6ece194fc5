"""Units: groups of rows that stay together, or count as one, because they come from one gathering."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from herbray.tasks.interface.columns import Labels
from herbray.tasks.interface.embeddings import Embeddings, Indices

Integers = npt.NDArray[np.int64]


def gathering_codes(gathering: Labels | npt.ArrayLike) -> Indices:
    """A number for each row [n], equal for rows of one gathering; each row of unknown gathering has its own number."""
    column = Labels.of(gathering)
    codes: Indices = np.arange(len(column), dtype=np.intp)
    known = column.known()
    first = np.empty(len(column.names), np.intp)
    first[column.codes[known[::-1]]] = known[::-1]  # the last entry written is that of the first row
    codes[known] = first[column.codes[known]]
    return codes


def embeddings_units(embeddings: Embeddings) -> Indices:
    """Units of all specimens [n]: the gatherings, so that duplicates are never neighbours or split across folds."""
    return gathering_codes(embeddings.gathering)


def join_units(units: Indices, others: Indices) -> Indices:
    """Codes [n] of the smallest groups of rows that keep both the `units` [n] and the `others` [n] together."""
    many = len(units)
    first, second = (np.unique(each, return_inverse=True)[1] for each in (units, others))
    pairs = coo_array((np.ones(many), (first, second + many)), shape=(2 * many, 2 * many))
    joined: Indices = connected_components(pairs, directed=False)[1].astype(np.intp)[first]
    return joined


def tally(codes: Integers, wanted: Integers) -> Integers:
    """Number of occurrences of each of `wanted` in `codes`."""
    return count_in_order(np.sort(codes), wanted)


def count_in_order(ordered: Integers, wanted: Integers) -> Integers:
    """Number of occurrences of each of `wanted` in codes that ascend."""
    return np.searchsorted(ordered, wanted, side="right") - np.searchsorted(ordered, wanted, side="left")
