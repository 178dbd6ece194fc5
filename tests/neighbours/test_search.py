import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from herbray.neighbours import search
from herbray.neighbours.search import NearestRows, find_all_nearest, find_nearest
from herbray.neighbours.voting import vote


def by_hand(features, units, k):
    """The definition with all cosines at once, in 64 bits: [n, k], -1 where there are fewer."""
    wide = features.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    points = wide / np.where(length > 0, length, 1)
    steps = np.rint(points @ points.T * 1e6).astype(np.int64)
    steps[units[:, None] == units[None, :]] = -(2**40)
    order = np.lexsort((np.broadcast_to(np.arange(len(units)), steps.shape), -steps), axis=1)[:, :k]
    near = np.take_along_axis(steps, order, axis=1)
    return np.where(near > -(2**40), order, -1), near / 1e6


def assert_is(near, features, units, k):
    places, cosine = by_hand(features, units, k)
    assert np.array_equal(near.rows, np.arange(len(features)))
    assert np.array_equal(np.where(near.valid, near.neighbours, -1), places)
    assert np.array_equal(near.cosine[near.valid], cosine[near.valid])


def cloud(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.fixture
def compared_with_all(monkeypatch):
    """How many rows are compared with all rows in 64 bits."""
    rows = []
    compare = search._compare_all
    monkeypatch.setattr(search, "_compare_all", lambda *args: (rows.append(len(args[1])), compare(*args))[1])
    return rows


@pytest.fixture
def candidates_first(monkeypatch):
    """32 bits choose candidates, however few the rows are."""
    monkeypatch.setattr(search, "_CANDIDATE_DIVISOR", 20)


@pytest.mark.slow
@given(
    n=st.integers(2, 25),
    k=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    max_cosines=st.integers(1, 200),
    columns=st.integers(1, 40),
    candidates=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_neighbours_are_those_of_the_definition_whatever_the_block(n, k, seed, max_cosines, columns, candidates):
    generator = np.random.default_rng(seed)
    features = generator.integers(-2, 3, (n, 3)).astype(np.float32)  # many ties, and rows of zeros
    units = generator.integers(0, n, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BLOCK_COLUMNS", columns)
        patch.setattr(search, "_EXTRA_CANDIDATES", 1)
        patch.setattr(search, "_CANDIDATE_DIVISOR", 0.5 if candidates else 1000)  # n // 0.5 is more than any k
        places, cosine = by_hand(features, units, k)
        rows = []
        for near in find_nearest(features, units, k, max_cosines=max_cosines):
            rows += near.rows.tolist()
            assert np.array_equal(np.where(near.valid, near.neighbours, -1), places[near.rows])
            assert np.array_equal(near.cosine[near.valid], cosine[near.rows][near.valid])
        assert rows == list(range(n))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("a cloud", cloud(2500, 24)),
        ("far from the origin, all cosines above 0.999", cloud(2500, 24) + 60),
        ("rows ten times each", np.repeat(cloud(250, 24), 10, axis=0)),
        ("whole numbers: ties at every place", np.rint(cloud(2500, 4))),
        ("all alike", np.ones((2500, 8), dtype=np.float32)),
        ("a tenth of zeros", cloud(2500, 24) * (np.arange(2500) % 10 > 0)[:, None]),
        ("lengths of 1e-30 to 1e30", cloud(2500, 24) * 10.0 ** np.linspace(-30, 30, 2500)[:, None]),
        ("lengths that 32 bits cannot divide by", cloud(2500, 24) * 10.0 ** np.linspace(-41, 37, 2500)[:, None]),
    ],
)
def test_candidates_of_32_bits_lose_no_neighbour(name, features, candidates_first):
    features = features.astype(np.float32)
    for units in (np.arange(2500), np.random.default_rng(1).integers(0, 900, 2500)):
        assert_is(find_all_nearest(features, units, 10), features, units, 10)


def test_neighbours_closer_than_32_bits_resolve_are_ordered(compared_with_all, candidates_first):
    """Two hundred rows at cosines that differ by a millionth: products in 32 bits of 512 numbers mix them up."""
    generator = np.random.default_rng(0)
    axis, side = np.linalg.qr(generator.standard_normal((512, 2)))[0].T
    angle = np.arccos(0.9 - 1e-6 * generator.permutation(200))
    features = np.cos(angle)[:, None] * axis + np.sin(angle)[:, None] * side
    features = np.vstack([axis, features, generator.standard_normal((2300, 512))]).astype(np.float32)
    asked = np.array([0])
    found = find_all_nearest(features, np.arange(len(features)), 20, asked)
    assert np.array_equal(found.neighbours[0], by_hand(features, np.arange(len(features)), 20)[0][0])
    assert compared_with_all == [1]


@pytest.mark.slow
def test_of_ordinary_rows_few_are_compared_with_all(compared_with_all, candidates_first):
    features = cloud(3000, 512)
    assert_is(find_all_nearest(features, np.arange(3000), 10), features, np.arange(3000), 10)
    assert sum(compared_with_all) < 30


def test_each_row_may_want_another_number_and_only_some_may_ask():
    features, units = cloud(900, 16), np.random.default_rng(2).integers(0, 400, 900)
    wanted = np.random.default_rng(3).integers(1, 700, 900)
    asked = np.flatnonzero(np.arange(900) % 3)
    places, _ = by_hand(features, units, 700)
    seen = []
    for near in find_nearest(features, units, wanted, asked, max_cosines=10_000):
        seen += near.rows.tolist()
        assert near.neighbours.shape[1] == wanted[near.rows].max()
        found = np.where(near.valid, near.neighbours, -1)
        assert np.array_equal(found, places[near.rows, : found.shape[1]])
    assert sorted(seen) == asked.tolist()


def test_threads_and_the_precision_that_a_caller_has_set_change_nothing(candidates_first):
    features = cloud(2000, 2)  # on a circle: neighbours lie closer than half precision can tell
    torch.set_float32_matmul_precision("medium")
    try:
        with threadpool_limits(limits=1), torch.autocast("cpu", torch.bfloat16):
            found = find_all_nearest(features, np.arange(2000), 10)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert_is(found, features, np.arange(2000), 10)


def test_the_threads_that_a_task_sets_are_those_that_are_used():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(limits=1):
            find_all_nearest(cloud(1500, 256), np.arange(1500), 5)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_arrays_that_must_not_be_written_and_tensors_are_read():
    features = cloud(50, 8)
    due = find_all_nearest(features, np.arange(50), 3)
    features.flags.writeable = False
    for same in (features, torch.tensor(features), torch.tensor(features).double()):
        assert np.array_equal(find_all_nearest(same, np.arange(50), 3).neighbours, due.neighbours)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(candidates_first):
    for features in (cloud(3000, 128), np.rint(cloud(3000, 4)), cloud(3000, 128) + 60):
        due = list(find_nearest(features, np.arange(3000), 10, device="cpu"))
        found = list(find_nearest(features, np.arange(3000), 10, device="cuda"))
        for one, other in zip(due, found, strict=True):
            assert np.array_equal(one.neighbours, other.neighbours)
            assert np.array_equal(one.cosine, other.cosine)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_lone_row_has_no_neighbour(k):
    near = find_all_nearest(np.ones((1, 4), dtype=np.float32), np.arange(1), k)
    assert not near.valid.any()
    assert vote(near, np.zeros(1, dtype=np.intp)).tolist() == [-1]


@pytest.mark.parametrize(
    ("features", "units", "k"), [((4, 2), 3, 1), ((4,), 4, 1), ((4, 2), 4, 0), ((4, 2), 4, np.array([1, 1, 0, 1]))]
)
def test_bad_input_is_refused(features, units, k):
    with pytest.raises(ValueError, match="expected"):
        next(find_nearest(np.zeros(features, dtype=np.float32), np.arange(units), k))


def test_votes_go_by_number_then_by_nearness_then_by_code():
    # around row 0, at cosines .9 .8 .7 .6: classes 2 1 1 2: two votes each, 2 nearer by sum only if .9+.6 > .8+.7
    def around(cosines):
        return np.array([[1, 0], *([c, np.sqrt(1 - c * c)] for c in cosines)], dtype=np.float32)

    codes = np.array([0, 2, 1, 1, 2])
    for cosines, winner in [((0.9, 0.8, 0.7, 0.65), 2), ((0.9, 0.8, 0.75, 0.6), 1), ((0.9, 0.9, 0.9, 0.9), 1)]:
        near = find_all_nearest(around(cosines), np.arange(5), 4)
        assert vote(near, codes)[0] == winner
    assert vote(find_all_nearest(around((0.9, 0.8, 0.7, 0.6)), np.arange(5), 3), codes)[0] == 1


def test_a_thousand_voters_a_row_take_little_memory():
    generator = np.random.default_rng(0)
    near = NearestRows(
        np.arange(2000),
        np.argsort(generator.random((2000, 1000)), axis=1),
        np.round(generator.random((2000, 1000)), 6),
        np.ones((2000, 1000), dtype=bool),
    )
    codes = generator.integers(0, 9, 1000)  # every pair of voters at once would be 2 billion
    winner = vote(near, codes)
    for row in range(0, 2000, 400):
        votes = np.bincount(codes[near.neighbours[row]])
        assert votes[winner[row]] == votes.max()
