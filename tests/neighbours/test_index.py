import numpy as np
import pytest

from herbray.neighbours import index as module
from herbray.neighbours.index import VectorIndex


def cloud(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def by_hand(features, vectors, k, allowed=None):
    """The definition, with all cosines in 64 bits."""
    near, there = (x.astype(np.float64) for x in (vectors, features))
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (near, there)]
    steps = np.rint(unit[0] @ unit[1].T * 1e6)
    if allowed is not None:
        steps[~np.broadcast_to(allowed, steps.shape)] = -np.inf
    order = np.lexsort((np.broadcast_to(np.arange(len(features)), steps.shape), -steps), axis=1)[:, :k]
    cosine = np.take_along_axis(steps, order, axis=1) / 1e6
    return np.where(np.isfinite(cosine), order, -1), cosine


def assert_is(found, features, vectors, k, allowed=None):
    rows, cosine = by_hand(features, vectors, k, allowed)
    assert np.array_equal(np.where(found.valid, found.rows, -1), rows)
    assert np.array_equal(found.cosine[found.valid], cosine[found.valid])


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("block", [1, 10**6])
def test_it_finds_what_the_definition_says(n, k, block, monkeypatch):
    monkeypatch.setattr(module, "_SCORES", block)
    monkeypatch.setattr(module, "_CHUNK_ROWS", 64)
    features, vectors = cloud(n, 12), cloud(9, 12, seed=1)
    assert_is(VectorIndex(features).search(vectors, k), features, vectors, k)


def test_near_duplicates_are_ordered_by_64_bits_then_by_row():
    base = cloud(1, 64)
    features = np.repeat(base, 500, axis=0) + 1e-4 * cloud(500, 64, seed=2)
    features[100:200] = base  # ties
    vectors = base + 1e-4 * cloud(3, 64, seed=3)
    assert_is(VectorIndex(features).search(vectors, 20), features, vectors, 20)
    ties = VectorIndex(features[100:200]).search(base, 5)
    assert ties.rows.tolist() == [[0, 1, 2, 3, 4]]
    assert ties.cosine.tolist() == [[1.0] * 5]


@pytest.mark.parametrize("factor", [1e-35, 1e-3, 1e35])
def test_lengths_do_not_matter_and_zeros_have_cosine_zero(factor):
    features, vectors = cloud(50, 8), cloud(4, 8, seed=1)
    features[3] = 0
    long = (features.astype(np.float64) * factor).astype(np.float32)
    vectors[2] = 0
    assert_is(VectorIndex(long).search(vectors, 7), long, vectors, 7)


def test_only_allowed_rows_are_found_also_row_by_row():
    features, vectors = cloud(80, 6), cloud(3, 6, seed=1)
    some = np.arange(80) % 5 == 0
    assert_is(VectorIndex(features).search(vectors, 30, some), features, vectors, 30, some)
    each = np.random.default_rng(4).random((3, 80)) < 0.3
    each[1] = False
    found = VectorIndex(features).search(vectors, 10, each)
    assert_is(found, features, vectors, 10, each)
    assert not found.valid[1].any()


def test_nothing_in_and_nothing_wrong():
    empty = VectorIndex(np.empty((0, 4), np.float32))
    assert empty.search(cloud(2, 4), 3).rows.shape == (2, 0)
    index = VectorIndex(cloud(5, 4))
    assert index.search(np.empty((0, 4), np.float32), 3).rows.shape == (0, 3)
    for vectors, k in ((cloud(1, 3), 1), (cloud(1, 4), 0), (np.full((1, 4), np.nan, np.float32), 1)):
        with pytest.raises(ValueError, match=r"expected|finite"):
            index.search(vectors, k)
    with pytest.raises(ValueError, match="one row per specimen"):
        VectorIndex(np.zeros(4, np.float32))
