"""Kin of the names of a rank: the names of the same next higher rank."""

import numpy as np

from herbray.schema import RANKS
from herbray.tasks.interface.embeddings import Embeddings, Indices


def find_kin(embeddings: Embeddings, rank: str, rows: Indices, classes: Indices) -> Indices:
    """A number for each class [k], equal for classes of the same next higher rank, as most sheets have it.

    At the highest rank, all classes are kin. A class whose sheets have no name at the higher rank has no kin.

    Args:
        embeddings: of r rows.
        rank: of the names.
        rows: [n] some of the rows.
        classes: [n] their classes, 0 to k-1, each of which occurs.
    """
    many = int(classes.max()) + 1
    place = RANKS.index(rank)
    if place == 0:
        return np.zeros(many, np.intp)
    higher = embeddings.rank(RANKS[place - 1])
    codes = higher.codes[rows].astype(np.intp)
    known = codes >= 0
    pairs, counts = np.unique(classes[known] * (len(higher.names) + 1) + codes[known], return_counts=True)
    kin = len(higher.names) + np.arange(many)
    order = np.argsort(counts, kind="stable")  # the most frequent is written last
    found, code = np.divmod(pairs[order], len(higher.names) + 1)
    kin[found] = code
    return kin
