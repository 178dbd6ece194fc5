import numpy as np
import pyarrow as pa
import pytest

from herbray import schema
from herbray.data.planning import plan
from herbray.data.planning.plan import Stream
from herbray.data.planning.rivals import draw_rival_bags, draw_rival_rows
from herbray.data.planning.window import order_rows

BAGS = [("A", 4), ("A", 4), ("A", 3), ("B", 5), ("C", 1), ("D", 8)]
NAMES = ["A", "B", "C", "D"]


def index_of(bags):
    rows = [{"split": "train", "file": "f", "row_group": i, "label": g, "rows": n} for i, (g, n) in enumerate(bags)]
    return pa.Table.from_pylist(rows, schema=schema.INDEX)


def windows(epoch, batch=14, rivals=6, **settings):
    stream = Stream(batch=batch, window=4, align=2, **settings)
    return plan.plan_epoch(index_of(BAGS), NAMES, stream, 2, 5, epoch, rivals=rivals)


def test_a_bag_draws_a_genus_and_then_rows_of_it():
    rows = np.array([n for _, n in BAGS])
    drawn = draw_rival_bags(np.array([NAMES.index(g) for g, _ in BAGS]), rows, 40_000, np.random.default_rng(0))
    share = np.bincount(drawn, minlength=len(BAGS)) / 40_000
    np.testing.assert_allclose(share, [4 / 44, 4 / 44, 3 / 44, 1 / 4, 1 / 4, 1 / 4], atol=0.01)


def test_rows_lie_in_their_bag_and_all_occur():
    drawn = draw_rival_rows(np.array([1, 3]), 400, 5, np.random.default_rng(0)).reshape(-1, 2)
    assert {tuple(pair) for pair in drawn.tolist()} == {(0, 0), (1, 0), (1, 1), (1, 2)}


def test_batches_are_pairs_of_one_bag_and_then_rivals():
    for window in windows(0):
        order = order_rows(window)
        assert order.row.shape == (window.batches, 14)
        pairs = order.slice[:, :8].reshape(-1, 2)
        assert (pairs[:, 0] == pairs[:, 1]).all()
        own = len(window.slices) - window.rival_slices
        assert pairs.max() < own <= order.slice[:, 8:].min()
        sizes = np.array([part.rows for part in window.slices])
        assert (order.row < sizes[order.slice]).all()


@pytest.mark.slow
def test_rows_are_anchors_equally_often_whatever_the_size_of_their_bag():
    seen = np.zeros((len(BAGS), 8))
    for epoch in range(400):
        for window in windows(epoch):
            order = order_rows(window)
            bags = np.array([part.bag for part in window.slices])
            np.add.at(seen, (bags[order.slice[:, :8]], order.row[:, :8]), 1)
    share = np.concatenate([seen[i, :n] for i, (_, n) in enumerate(BAGS)])
    np.testing.assert_allclose(share / share.mean(), 1, atol=0.15)


def test_an_epoch_without_rivals_is_what_it_was():
    stream = Stream(batch=8, window=4)
    assert all(window.rival_slices == 0 for window in plan.plan_epoch(index_of(BAGS), NAMES, stream, 2, 5, 0))
    assert [*windows(1)] == [*windows(1)]
    assert [*windows(1)] != [*windows(2)]


@pytest.mark.parametrize(
    ("batch", "rivals", "message"),
    [(6, 6, "leaves no row in addition to 6 rivals"), (13, 6, "groups of 2 rows plus 6")],
)
def test_a_batch_must_hold_both(batch, rivals, message):
    with pytest.raises(ValueError, match=message):
        windows(0, batch, rivals)
