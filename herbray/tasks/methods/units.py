"""Units: groups of rows that stay together, or count as one, because they come from one gathering."""

import numpy as np
import numpy.typing as npt

from herbray.tasks.interface.embeddings import Embeddings, Indices, Objects

Integers = npt.NDArray[np.int64]


def gathering_codes(gathering: Objects) -> Indices:
    """A number for each row [n], equal for rows of one gathering; each row of unknown gathering has its own number."""
    codes: Indices = np.arange(len(gathering), dtype=np.intp)
    known = np.flatnonzero([name is not None for name in gathering])
    if len(known):
        _, first, inverse = np.unique(gathering[known].astype(str), return_index=True, return_inverse=True)
        codes[known] = known[first][inverse]
    return codes


def embeddings_units(embeddings: Embeddings) -> Indices:
    """Units of all specimens [n]: the gatherings, so that duplicates are never neighbours or split across folds."""
    return gathering_codes(embeddings.gathering)


def tally(codes: Integers, wanted: Integers) -> Integers:
    """Number of occurrences of each of `wanted` in `codes`."""
    ordered = np.sort(codes)
    return np.searchsorted(ordered, wanted, side="right") - np.searchsorted(ordered, wanted, side="left")
