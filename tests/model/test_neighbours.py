import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from herbray.model.neighbours import Best, nearest


def cloud(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("rows", "columns"), [(1024, 4096), (7, 320), (100, 33)])
def test_equals_scikit_learn_however_the_matrix_is_cut(metric, rows, columns):
    points, queries = cloud(1000, 20, 0) + 3.0, cloud(50, 20, 1) + 3.0
    points *= torch.linspace(0.5, 2, 1000)[:, None]
    due, places = (
        NearestNeighbors(n_neighbors=5, metric=metric, algorithm="brute")
        .fit(points.numpy().astype(float))
        .kneighbors(queries.numpy())
    )
    found, where = nearest(queries, points, 5, metric, rows, columns)
    np.testing.assert_array_equal(where.numpy(), places)
    np.testing.assert_allclose(found.numpy(), due, rtol=1e-4)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 200),
    block=st.integers(1, 70),
    k=st.integers(1, 6),
    whole=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_best_of_blocks_is_the_best_of_the_whole(seed, n, block, k, whole):
    scores = cloud(3, n, seed)
    if whole:
        scores = (scores * 2).long()  # with many ties
    k = min(k, n)
    best = Best(3, k, scores.dtype, scores.device)
    for start in range(0, n, block):
        best.see(slice(0, 3), scores[:, start : start + block], start)
    assert torch.equal(best.values, scores.topk(k, dim=1).values)
    assert torch.equal(scores.gather(1, best.places), best.values)
    assert all(len(set(row)) == k for row in best.places.tolist())


def test_maxima_over_lanes_lose_nothing():
    scores = cloud(40, 4096, 2)
    scores[:, :30] += 10  # the best stand side by side, some in one lane
    scores[:, 256:290] += 11
    best = Best(40, 10, scores.dtype, scores.device)
    best.see(slice(0, 40), scores, 5)
    assert torch.equal(best.values, scores.topk(10, dim=1).values)
    assert torch.equal(best.places, scores.topk(10, dim=1).indices + 5)


def test_a_duplicate_lies_at_zero_also_far_from_the_origin():
    points = cloud(200, 64, 3) + 100
    for metric in ("cosine", "euclidean"):
        found, where = nearest(points[[7, 9]], points, 1, metric)
        assert found.flatten().tolist() == [0.0, 0.0]
        assert where.flatten().tolist() == [7, 9]


def test_equal_distances_are_told_by_place():
    points = torch.eye(4)[[0, 1, 0, 2, 0]]
    assert nearest(torch.eye(4)[:1], points, 5)[1].tolist() == [[0, 2, 4, 1, 3]]


@pytest.mark.parametrize(
    ("queries", "points", "k"), [((2, 3), (4, 2), 1), ((2, 3), (4, 3), 5), ((2, 3), (4, 3), 0), ((3,), (4, 3), 1)]
)
def test_bad_input_is_refused(queries, points, k):
    with pytest.raises(ValueError, match="wanted"):
        nearest(torch.zeros(queries), torch.zeros(points), k)
