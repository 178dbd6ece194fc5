import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.tasks.neighbours import all_nearest, gathering_codes, nearest, tally, vote


def by_hand(features, units, k):
    """Nearest rows in plain loops: by cosine to a millionth, then by number."""
    length = np.linalg.norm(features.astype(float), axis=1, keepdims=True)
    points = features / np.where(length > 0, length, 1)
    found = []
    for row in range(len(points)):
        others = [other for other in range(len(points)) if units[other] != units[row]]
        near = {other: round(float(points[row] @ points[other]) * 1e6) for other in others}
        found.append(sorted(others, key=lambda other, near=near: (-near[other], other))[:k])
    return found


@given(st.integers(2, 25), st.integers(1, 30), st.integers(0, 10**6), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_neighbours_are_those_of_plain_loops_whatever_the_block(n, k, seed, cells):
    generator = np.random.default_rng(seed)
    features = generator.integers(-2, 3, (n, 3)).astype(np.float32)  # many ties, and rows of zeros
    units = generator.integers(0, n, n)
    wanted = by_hand(features, units, k)
    rows = []
    for near in nearest(features, units, k, cells):
        rows += near.rows.tolist()
        for row, neighbours, valid in zip(near.rows, near.neighbours, near.valid, strict=True):
            assert neighbours[valid].tolist() == wanted[row]
            assert valid.tolist() == sorted(valid.tolist(), reverse=True)
    assert rows == list(range(n))


def test_similarities_are_cosines():
    features = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    near = all_nearest(features, np.arange(40), 5)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    wanted = np.take_along_axis(unit @ unit.T, near.neighbours, axis=1)
    assert np.allclose(near.cosine, wanted, atol=2e-6)
    assert (np.diff(near.cosine, axis=1) <= 0).all()


def test_rows_of_one_gathering_share_a_number_and_unknown_ones_stand_alone():
    codes = gathering_codes(np.array(["x", None, "y", "x", None, "1"], dtype=object))
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 5


def test_votes_go_by_number_then_by_nearness_then_by_code():
    # around row 0, at cosines .9 .8 .7 .6: classes 2 1 1 2: two votes each, 2 nearer by sum only if .9+.6 > .8+.7
    def around(cosines):
        return np.array([[1, 0], *([c, np.sqrt(1 - c * c)] for c in cosines)], dtype=np.float32)

    codes = np.array([0, 2, 1, 1, 2])
    for cosines, winner in [((0.9, 0.8, 0.7, 0.65), 2), ((0.9, 0.8, 0.75, 0.6), 1), ((0.9, 0.9, 0.9, 0.9), 1)]:
        near = all_nearest(around(cosines), np.arange(5), 4)
        assert vote(near, codes)[0] == winner
    assert vote(all_nearest(around((0.9, 0.8, 0.7, 0.6)), np.arange(5), 3), codes)[0] == 1


def test_tally_counts():
    assert tally(np.array([3, 1, 3, 3]), np.array([[3, 2], [1, 3]])).tolist() == [[3, 0], [1, 3]]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_lone_row_has_no_neighbour(k):
    near = all_nearest(np.ones((1, 4), dtype=np.float32), np.arange(1), k)
    assert not near.valid.any()
