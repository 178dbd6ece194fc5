"""Units: rows that must not be torn apart, or count as one, because they are of one gathering."""

import numpy as np
import numpy.typing as npt

from herbray.tasks.embeddings import Embeddings, Indices, Objects

Integers = npt.NDArray[np.int64]


def gathering_codes(gathering: Objects) -> Indices:
    """A number for each row [n], the same for rows of one gathering; rows of unknown gathering stand alone."""
    codes: Indices = np.arange(len(gathering), dtype=np.intp)
    known = np.flatnonzero([name is not None for name in gathering])
    if len(known):
        _, first, inverse = np.unique(gathering[known].astype(str), return_index=True, return_inverse=True)
        codes[known] = known[first][inverse]
    return codes


def embeddings_units(embeddings: Embeddings) -> Indices:
    """Units of all specimens [n]: the gathering, so that a duplicate neither is a neighbour nor fills a fold."""
    return gathering_codes(embeddings.gathering)


def tally(codes: Integers, asked: Integers) -> Integers:
    """How often each of `asked` occurs among `codes`."""
    ordered = np.sort(codes)
    return np.searchsorted(ordered, asked, side="right") - np.searchsorted(ordered, asked, side="left")
