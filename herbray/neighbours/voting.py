"""Classification by the nearest neighbours: the most frequent class among them."""

import numpy as np

from herbray.neighbours.search import COSINE_STEPS, Indices, NearestRows


def vote(near: NearestRows, codes: Indices) -> Indices:
    """Determine the most frequent class among the neighbours of each row [m].

    Among equally frequent classes, the class with the larger sum of similarities wins, then the smaller code. A row
    without neighbours gets -1.

    Args:
        near: nearest rows of m query rows.
        codes: [n] the classes, at least 0.
    """
    row, place = np.nonzero(near.valid)
    voter = codes[near.neighbours[row, place]].astype(np.int64)
    nearness = np.rint(near.cosine[row, place] * COSINE_STEPS) + COSINE_STEPS
    classes = int(codes.max(initial=0)) + 1
    ballots, ballot = np.unique(row * classes + voter, return_inverse=True)
    asker, named = np.divmod(ballots, classes)
    order = np.lexsort((-named, np.bincount(ballot, nearness), np.bincount(ballot), asker))
    winner = np.full(len(near.rows), -1, dtype=np.intp)
    winner[asker[order]] = named[order]  # the last entry of each row wins
    return winner
