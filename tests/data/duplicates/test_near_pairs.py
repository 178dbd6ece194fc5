import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.data.duplicates.near_pairs import find_near_pairs
from herbray.data.imaging.perceptual_hash import HASH_BYTES, NEAR_BITS


def by_comparing_all(rows):
    bits = np.unpackbits(rows, axis=1).astype(int)
    apart = np.abs(bits[:, None] - bits[None]).sum(2)
    return np.argwhere(np.triu(apart <= NEAR_BITS, 1)).tolist()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_the_pairs_are_those_of_a_comparison_of_all(seed, many):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (many, HASH_BYTES), np.uint8)
    copies = np.unpackbits(rows[: many // 2], axis=1)
    for copy in copies:  # around the limit
        copy[rng.choice(HASH_BYTES * 8, rng.integers(NEAR_BITS - 2, NEAR_BITS + 3), replace=False)] ^= 1
    rows = np.unique(np.concatenate([rows, np.packbits(copies, axis=1)]), axis=0)
    left, right = find_near_pairs(rows)
    assert np.stack([left, right], 1).tolist() == by_comparing_all(rows)


def test_many_pairs_in_one_part_are_all_found(monkeypatch):
    monkeypatch.setattr("herbray.data.duplicates.near_pairs._BLOCK", 7)
    rows = np.zeros((40, HASH_BYTES), np.uint8)
    rows[:, 0] = np.arange(40)  # all agree in most parts
    left, _ = find_near_pairs(rows)
    assert len(left) == 40 * 39 // 2
