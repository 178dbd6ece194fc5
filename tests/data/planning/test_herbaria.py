import pickle
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray import schema
from herbray.data.planning import plan
from herbray.data.planning.herbaria import COLUMN, add_herbaria, check_herbaria
from herbray.data.planning.plan import Stream
from herbray.data.planning.window import order_rows

CLASSES = ["G0", "G1", "G2"]
herbaria_of_a_bag = st.lists(st.integers(0, 3), min_size=1, max_size=12)
bags = st.lists(st.tuples(st.sampled_from(CLASSES), herbaria_of_a_bag), min_size=1, max_size=12)


def index_of(bags):
    rows = [
        {"split": "train", "file": f"f{i // 3}", "row_group": i % 3, "label": label, "rows": len(herbaria)}
        for i, (label, herbaria) in enumerate(bags)
    ]
    index = pa.Table.from_pylist(rows, schema=schema.INDEX)
    return index.append_column(COLUMN, pa.array([herbaria for _, herbaria in bags], pa.list_(pa.int32())))


def batches_of(windows):
    """(bag, row) of every row of every batch."""
    for window in windows:
        order = order_rows(window)
        for parts, rows in zip(order.slice, order.row, strict=True):
            yield [(window.slices[part].bag, int(row)) for part, row in zip(parts, rows, strict=True)]


def plan_of(bags, group, evenness, epoch=0, seed=5, **values):
    stream = Stream(batch=4 * group, window=4, align=1, herbaria=evenness, **values)
    return plan.plan_epoch(index_of(bags), CLASSES, stream, group, seed, epoch)


@settings(max_examples=60, deadline=None)
@given(bags, st.sampled_from([1, 2, 4]), st.sampled_from([0.3, 1.0]), st.integers(0, 3))
def test_the_plan_keeps_its_shape_and_its_groups_their_label(rows, group, evenness, epoch):
    plain, balanced = plan_of(rows, group, 0.0, epoch), plan_of(rows, group, evenness, epoch)
    shape = lambda windows: [(w.batches, [(s.bag, s.copy, s.start, s.stop) for s in w.slices]) for w in windows]  # noqa: E731
    assert shape(balanced) == shape(plain)
    counts = [Counter(bag for batch in batches_of(windows) for bag, _ in batch) for windows in (plain, balanced)]
    assert counts[0] == counts[1]
    for batch in batches_of(balanced):
        for start in range(0, len(batch), group):
            assert len({bag for bag, _ in batch[start : start + group]}) == 1
        assert all(row < len(rows[bag][1]) for bag, row in batch)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=24), st.sampled_from([1, 2, 3]), st.integers(0, 20))
def test_herbaria_have_equal_shares_of_a_bag_and_their_sheets_equal_turns(herbaria, group, seed):
    count = -(-len(herbaria) // group)
    stream = Stream(batch=group, window=1, align=1, herbaria=1.0)
    windows = plan.plan_epoch(index_of([("G0", herbaria)]), CLASSES, stream, group, seed, 0)
    groups = [[row for _, row in batch] for batch in batches_of(windows)]
    assert len(groups) == count
    read = Counter(herbaria[row] for each in groups for row in each)
    kinds = len(set(herbaria))
    for kind in set(herbaria):
        assert abs(read[kind] - count * group / kinds) < 1
        turns = Counter(row for each in groups for row in each)
        own = [turns[row] for row, herbarium in enumerate(herbaria) if herbarium == kind]
        assert max(own) - min(own) <= 1
    if kinds >= group:
        assert all(len({herbaria[row] for row in each}) == group for each in groups)


def test_evenness_between_draws_in_proportion_to_the_root():
    herbaria = [0] * 27 + [1] * 3  # shares 3 to 1
    read = Counter[int]()
    for epoch in range(40):
        for batch in batches_of(plan_of([("G0", herbaria)], 1, 0.5, epoch)):
            read.update(herbaria[row] for _, row in batch)
    assert read[0] / read[1] == pytest.approx(3, rel=0.1)


def test_another_epoch_reads_other_sheets_of_a_large_herbarium():
    herbaria = [0] * 20 + [1] * 4
    plans = [plan_of([("G0", herbaria)], 2, 1.0, epoch) for epoch in range(6)]
    epochs = [{row for batch in batches_of(windows) for _, row in batch} for windows in plans]
    assert all(len(rows) < 24 for rows in epochs)
    assert set().union(*epochs) == set(range(24))


def test_a_window_alone_says_which_rows_it_reads():
    rows = [("G0", [0, 0, 1]), ("G1", [2, 2]), ("G0", [0, 1, 1, 1, 3])]
    for window in plan_of(rows, 2, 0.7):
        again = pickle.loads(pickle.dumps(window))  # as a task receives it
        assert again == window
        assert (order_rows(again).row == order_rows(window).row).all()


def test_without_balance_herbaria_do_not_count():
    rows = [("G0", [0, 0, 1]), ("G1", [2, 2]), ("G0", [0, 1, 1, 1, 3])]
    bare = index_of(rows).drop_columns(COLUMN)
    stream = Stream(batch=8, window=4, align=1)
    assert [*plan.plan_epoch(bare, CLASSES, stream, 2, 5, 0)] == [*plan_of(rows, 2, 0.0)]


def specimens_of(bags, names):
    rows = [
        {"file": f"f{i // 3}", "row_group": i % 3, "row": row, "institution": names[herbarium]}
        for i, (_, herbaria) in enumerate(bags)
        for row, herbarium in enumerate(herbaria)
    ]
    types = {"file": pa.string(), "row_group": pa.int32(), "row": pa.int64(), "institution": pa.string()}
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


@settings(max_examples=40, deadline=None)
@given(bags, st.randoms(use_true_random=False))
def test_herbaria_of_bags_follow_from_the_specimens_in_any_order(rows, random):
    names = ["K", "NY", None, "AK"]
    specimens, index = specimens_of(rows, names), index_of(rows).drop_columns(COLUMN)
    mixed = [random.sample(range(len(table)), len(table)) for table in (index, specimens)]
    found = add_herbaria(index.take(mixed[0]), specimens.take(mixed[1])).to_pylist()
    code = {name: place for place, name in enumerate(sorted({str(names[h]) for _, bag in rows for h in bag}))}
    assert [bag.pop(COLUMN) for bag in found] == [[code[str(names[h])] for h in herbaria] for _, herbaria in rows]
    assert found == index.to_pylist()


def test_a_single_herbarium_cannot_be_balanced():
    check_herbaria(pa.chunked_array([["K", None]]), 1.0)
    check_herbaria(pa.chunked_array([["K", "K"]]), 0.0)
    with pytest.raises(ValueError, match=r"stream\.herbaria=0\.5, but all training sheets are of one herbarium"):
        check_herbaria(pa.chunked_array([["K", "K"]]), 0.5)
