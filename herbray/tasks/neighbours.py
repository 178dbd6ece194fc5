"""Nearest neighbours by cosine, exact, a block of rows at a time: what retrieval, leakage and suspects look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from herbray.tasks.base import Embeddings, Floats, Indices, Objects

Integers = npt.NDArray[np.int64]

_STEPS: Final = 10**6  # a cosine is told apart to a millionth: more would be the noise of the matrix product
_CELLS: Final = 2**22  # similarities held at a time: 4 M in int64, and as many again to sort them, is 100 MB


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest other rows of some rows; where fewer than `k` may be neighbours, the rest is masked out.

    Attributes:
        rows: [m] the rows that ask.
        neighbours: [m, k] row numbers, nearest first; equally near ones by number.
        cosine: [m, k] similarity, to a millionth.
        valid: [m, k] False where there is no further neighbour.
    """

    rows: Indices
    neighbours: Indices
    cosine: Floats
    valid: npt.NDArray[np.bool_]


def gathering_codes(gathering: Objects) -> Indices:
    """A number for each row [n], the same for rows of one gathering; rows of unknown gathering stand alone."""
    codes: Indices = np.arange(len(gathering), dtype=np.intp)
    known = np.flatnonzero([name is not None for name in gathering])
    if len(known):
        _, first, inverse = np.unique(gathering[known].astype(str), return_index=True, return_inverse=True)
        codes[known] = known[first][inverse]
    return codes


def nearest(features: npt.NDArray[np.float32], units: Indices, k: int | Indices, cells: int = _CELLS) -> Iterator[Near]:
    """Each row's nearest rows of other units, blocks of rows in order.

    Memory is about 24 bytes · `cells` beside the features, whatever n is.

    Args:
        features: [n, d]; a row of zeros is at cosine 0 to all.
        units: [n] what a row may not find: rows of its own unit, such as its gathering. `np.arange(n)` leaves out the
            row alone.
        k: neighbours, of all rows alike or [n] of each; a block gives as many as its row that wants most.
        cells: similarities held at a time.
    """
    length = np.sqrt((features.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    points = features / np.where(length > 0, length, 1.0)  # float64: in float32 equal cosines would not stay equal
    n = len(points)
    step = max(1, cells // max(1, n))
    wanted = np.broadcast_to(np.asarray(k), (n,))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        near = np.rint(np.clip(points[rows] @ points.T, -1, 1) * _STEPS).astype(np.int64) + _STEPS
        # One integer orders neighbours by cosine, then by row; rows of the same unit come last.
        key = near * n + np.arange(n - 1, -1, -1)
        key[units[rows][:, None] == units[None, :]] = -1
        yield _largest(rows, key, min(int(wanted[rows].max()), n))


def _largest(rows: Indices, key: Integers, k: int) -> Near:
    n = key.shape[1]
    if k < n:
        key = np.partition(key, n - k, axis=1)[:, n - k :]
    key = -np.sort(-key, axis=1)[:, :k]
    valid = key >= 0
    neighbours = np.where(valid, n - 1 - key % n, 0).astype(np.intp)
    cosine = np.where(valid, key // n / _STEPS - 1.0, -1.0)
    return Near(rows, neighbours, cosine, valid)


def all_nearest(features: npt.NDArray[np.float32], units: Indices, k: int) -> Near:
    """The blocks of `nearest` put together: for small k, [n, k] at once."""
    blocks = list(nearest(features, units, k))
    parts = (np.concatenate([getattr(b, name) for b in blocks]) for name in Near.__dataclass_fields__)
    return Near(*parts)


def vote(near: Near, codes: Indices) -> Indices:
    """The class [m] that most neighbours bear; among equally many the nearer ones, summed, win, then the smaller code.

    Args:
        near: of m rows.
        codes: [n] the classes, at least 0.
    """
    voters = np.where(near.valid, codes[near.neighbours], -1)
    alike = (voters[:, :, None] == voters[:, None, :]) & near.valid[:, :, None] & near.valid[:, None, :]
    votes = alike.sum(axis=2)
    weight = (alike * np.rint(near.cosine * _STEPS + _STEPS).astype(np.int64)[:, None, :]).sum(axis=2)
    best = np.lexsort((-voters, weight, votes), axis=1)[:, -1:]
    winner: Indices = np.take_along_axis(voters, best, axis=1)[:, 0]
    return winner


def tally(codes: Integers, asked: Integers) -> Integers:
    """How often each of `asked` occurs among `codes`."""
    ordered = np.sort(codes)
    return np.searchsorted(ordered, asked, side="right") - np.searchsorted(ordered, asked, side="left")


def embeddings_units(embeddings: Embeddings) -> Indices:
    """Units for `nearest`: the gathering, so that a duplicate is no neighbour."""
    return gathering_codes(embeddings.gathering)
