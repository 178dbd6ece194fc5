"""Pairs of images whose hashes are nearly equal, without comparing every image with every other."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from herbray.data.imaging.perceptual_hash import HASH_BYTES, NEAR_BITS

Ints = npt.NDArray[np.int64]

_PARTS: Final = NEAR_BITS + 1
"""If two hashes differ in at most `NEAR_BITS` bits, at least one of so many parts is equal."""

_SEED: Final = 89  # bits next to each other are alike, so each part takes bits from everywhere
_BLOCK: Final = 1 << 17  # pairs compared at once


def find_near_pairs(hashes: npt.NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Find all pairs whose hashes differ in at most `NEAR_BITS` bits.

    Only hashes that agree in one of 21 parts of 12 bits are compared (multi-index hashing, Norouzi et al. 2012, doi
    10.1109/CVPR.2012.6248043).

    Args:
        hashes: UInt8 [n, 32], all different.

    Returns:
        Two arrays of row numbers, the smaller of each pair in the first; sorted, each pair once.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64).reshape(len(hashes), HASH_BYTES // 8)
    found = [np.empty((0, 2), np.int64)]
    for keys in _make_parts(hashes):
        order = np.argsort(keys, kind="stable")
        first = words[order, 0]
        for left, right in _pair_equal(keys[order]):
            hopeful = np.bitwise_count(first[left] ^ first[right]) <= NEAR_BITS  # few of the others remain
            one, other = order[left[hopeful]], order[right[hopeful]]
            near = np.bitwise_count(words[one] ^ words[other]).sum(1) <= NEAR_BITS
            found.append(np.sort(np.stack([one[near], other[near]], 1), 1))
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _make_parts(hashes: npt.NDArray[np.uint8]) -> Iterator[Ints]:
    """The bits of each row, dealt to `_PARTS` numbers; a few bits are in none."""
    size = HASH_BYTES * 8 // _PARTS
    places = np.random.default_rng(_SEED).permutation(HASH_BYTES * 8)[: size * _PARTS].reshape(_PARTS, size)
    for part in places:
        keys = np.zeros(len(hashes), np.int64)
        for place in part.tolist():
            keys = keys << 1 | hashes[:, place // 8] >> (7 - place % 8) & 1
        yield keys


def _pair_equal(keys: Ints) -> Iterator[tuple[Ints, Ints]]:
    """All pairs of places with equal keys, in blocks; the keys are sorted."""
    ends = np.searchsorted(keys, keys, side="right")
    many = ends - np.arange(len(keys)) - 1  # pairs in which a place is the first
    before = np.concatenate([[0], np.cumsum(many)])
    first = 0
    while first < len(keys):
        last = max(first + 1, int(np.searchsorted(before, before[first] + _BLOCK, side="right")) - 1)
        counts = many[first:last]
        left = np.repeat(np.arange(first, last), counts)
        right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield left, right
        first = last
