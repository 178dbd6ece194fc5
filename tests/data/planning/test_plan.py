import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray import schema
from herbray.data.fingerprint import fingerprint_json
from herbray.data.planning import plan
from herbray.data.planning.plan import Stream
from herbray.data.planning.shard_plan import plan_shards
from herbray.data.planning.window import order_rows

CLASSES = [f"Genus{i:02d}" for i in range(12)]


def index_of(rows, split="train"):
    """Bags of the given sizes, each of the genus that its place says."""
    bags = [
        {
            "split": split,
            "file": f"split={split}/part-{i // 5:05d}.parquet",
            "row_group": i % 5,
            "label": genus,
            "rows": n,
        }
        for i, (genus, n) in enumerate(rows)
    ]
    return pa.Table.from_pylist(bags, schema=schema.INDEX)


bags = st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 9)), min_size=1, max_size=40)
streams = st.builds(
    lambda group, many, window, align: (group, Stream(batch=group * many, window=window, align=align)),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 6),
    st.integers(1, 12),
    st.integers(1, 4),
)


def rows_of(windows):
    """Every (bag, row) of the windows, in order, with its label, batch by batch."""
    out = []
    for window in windows:
        order = order_rows(window)
        for places, rows in zip(order.slice, order.row, strict=True):
            parts = [window.slices[p] for p in places]
            out.append([(part.bag, int(row), part.label) for part, row in zip(parts, rows, strict=True)])
    return out


@settings(max_examples=60, deadline=None)
@given(bags, streams, st.integers(0, 5))
def test_every_row_is_read_and_every_batch_is_exact(rows, stream, epoch):
    group, spec = stream
    index = index_of(rows)
    windows = plan.plan_epoch(index, CLASSES, spec, group, 7, epoch)
    batches = rows_of(windows)
    assert {(bag, row) for batch in batches for bag, row, _ in batch} == {
        (b, r) for b, (_, n) in enumerate(rows) for r in range(n)
    }
    assert {len(batch) for batch in batches} == {spec.batch}
    assert len({window.batches for window in windows}) == 1
    assert len(windows) % spec.align == 0


@settings(max_examples=40, deadline=None)
@given(bags, streams)
def test_groups_stand_side_by_side_and_are_of_one_genus(rows, stream):
    group, spec = stream
    for batch in rows_of(plan.plan_epoch(index_of(rows), CLASSES, spec, group, 1, 0)):
        for start in range(0, len(batch), group):
            assert len({label for _, _, label in batch[start : start + group]}) == 1


@settings(max_examples=40, deadline=None)
@given(bags, streams, st.randoms(use_true_random=False))
def test_the_order_of_the_index_changes_nothing(rows, stream, random):
    group, spec = stream
    index = index_of(rows)
    places = list(range(index.num_rows))
    random.shuffle(places)
    assert [*plan.plan_epoch(index.take(places), CLASSES, spec, group, 3, 2)] == [
        *plan.plan_epoch(index, CLASSES, spec, group, 3, 2)
    ]


def test_epochs_and_seeds_differ_and_repeat():
    index = index_of([(genus, 9) for genus in CLASSES])
    make = lambda seed, epoch: rows_of(plan.plan_epoch(index, CLASSES, Stream(batch=12, window=4), 2, seed, epoch))  # noqa: E731
    assert make(1, 0) == make(1, 0)
    assert make(1, 0) != make(1, 1)
    assert make(1, 0) != make(2, 0)


def test_a_lone_specimen_fills_its_group_with_views_of_itself():
    batches = rows_of(
        plan.plan_epoch(index_of([("Genus00", 1), ("Genus01", 8)]), CLASSES, Stream(batch=4, align=1), 4, 0, 0)
    )
    lone = [batch for batch in batches if batch[0][2] == 0]
    assert lone
    assert all(len(set(batch)) == 1 for batch in lone)


def test_balance_draws_rare_genera_as_often_as_common_ones():
    index = index_of([("Genus00", 8)] * 60 + [("Genus01", 8)] * 6)
    seen = {0: 0, 1: 0}
    for epoch in range(20):
        for batch in rows_of(plan.plan_epoch(index, CLASSES, Stream(batch=16, balance=1.0), 1, 5, epoch)):
            for _, _, label in batch:
                seen[label] += 1
    assert 0.8 < seen[0] / seen[1] < 1.25


def test_a_genus_that_training_lacks_has_no_label():
    windows = plan.plan_epoch(index_of([("Other", 3)], "validation"), CLASSES, Stream(batch=2), 1, 0, 0, "validation")
    assert {part.label for window in windows for part in window.slices} == {-1}


def test_an_empty_split_is_named():
    with pytest.raises(ValueError, match="no row of split 'validation'"):
        plan.plan_epoch(index_of([("Genus00", 3)]), CLASSES, Stream(), 1, 0, 0, "validation")


def test_a_group_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(ValueError, match=r"stream\.batch=10 cannot be cut into groups of 4"):
        plan.plan_epoch(index_of([("Genus00", 3)]), CLASSES, Stream(batch=10), 4, 0, 0)


def catalogue_of(genera):
    rows = [{"specimen_id": f"s{i:04d}", "image": f"{i}.jpg", "genus": genus} for i, genus in enumerate(genera)]
    return pa.Table.from_pylist(rows, schema=schema.CATALOGUE)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(schema.SPLITS)), min_size=1, max_size=80),
    st.integers(1, 7),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
def test_shard_plan_deals_every_specimen_once_whatever_the_row_order(rows, bag, file_rows, random):
    table, splits = catalogue_of([genus for genus, _ in rows]), pa.array([split for _, split in rows])
    ids = table["specimen_id"].to_pylist()
    files = plan_shards(ids, table["genus"], splits, bag, file_rows, 11)
    dealt = [int(row) for file in files for row in file.rows]
    assert sorted(dealt) == [i for i, (_, split) in enumerate(rows) if split != "unused"]
    for file in files:
        assert {rows[row][1] for row in file.rows} == {file.split}
        for part, label in zip(file.bags, file.labels, strict=True):
            assert {rows[row][0] for row in part} == {label}
            assert len(part) <= bag
    places = list(range(len(rows)))
    random.shuffle(places)
    other = table.take(places)
    ids, shuffled = other["specimen_id"].to_pylist(), splits.take(pa.array(places))
    again = plan_shards(ids, other["genus"], shuffled, bag, file_rows, 11)
    named = lambda plans, t: [(f.path, [t["specimen_id"].take(pa.array(b)).to_pylist() for b in f.bags]) for f in plans]  # noqa: E731
    assert named(again, table.take(places)) == named(files, table)


def test_fingerprint_depends_on_every_part():
    assert fingerprint_json("a", 1) == fingerprint_json("a", 1)
    assert len({fingerprint_json(*parts) for parts in [("a", 1), ("a", 2), ("a1",), ("a", "1")]}) == 4


def test_offsets_and_seeds_follow_from_the_window():
    window = plan.plan_epoch(index_of([("Genus00", 8)]), CLASSES, Stream(batch=4, align=1), 1, 9, 0)[0]
    one, two = order_rows(window), order_rows(window)
    assert (one.offset == two.offset).all()
    assert (one.seeds == two.seeds).all()
    assert len(np.unique(one.seeds)) == window.batches


@pytest.mark.parametrize(("balance", "rivals", "group"), [(0.0, 0, 2), (0.7, 0, 2), (0.0, 4, 2), (0.6, 4, 2)])
def test_all_epochs_of_a_run_have_one_shape(balance, rivals, group):
    """Bags and pairs drawn anew each epoch differ in number; ranks in two epochs at a step must not."""
    rows = [(f"Genus{n % 7:02d}", 1 + n * n % 9) for n in range(60)]
    spec, index = Stream(batch=6, window=30, align=1, balance=balance), index_of(rows)
    epochs = [plan.plan_epoch(index, CLASSES, spec, group, 3, epoch, rivals=rivals) for epoch in range(12)]
    found = plan.plan_run(index, CLASSES, spec, group, 3, 12, rivals)
    shapes = {(len(each), each[0].batches) for each in epochs}
    assert len({window.batches for window in found}) == 1
    assert len(found) == 12 * (max(window.number for window in found) + 1)
    if balance or rivals:
        assert len(shapes) > 1  # else this tells nothing
    else:
        assert [*found] == [window for each in epochs for window in each]
    for number, window in enumerate(found):
        assert (window.epoch, window.number) == divmod(number, len(found) // 12)
        made = order_rows(window)
        assert made.row.shape == (window.batches, 6)


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_windows_are_made_when_asked_and_alike_however_they_are_asked_for(balance):
    spec, index = Stream(batch=6, window=3, align=1, balance=balance), index_of([(genus, 5) for genus in CLASSES])
    windows = plan.plan_run(index, CLASSES, spec, 2, 3, 5)
    all_ = [*windows]
    assert [windows[n] for n in reversed(range(len(windows)))] == all_[::-1]
    assert [*windows[3:][1::2]] == all_[3:][1::2]
    assert windows[-1] == windows[4:][-1] == all_[-1]
    assert [*plan.iter_files(windows)] == [*plan.iter_files(all_)]
    assert set(plan.iter_files(all_)) == set(windows.files)
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_a_plan_of_a_million_epochs_costs_as_much_as_one():
    """If each window were an object from the start, this would take hours."""
    index = index_of([(genus, 9) for genus in CLASSES])
    windows = plan.plan_run(index, CLASSES, Stream(batch=12, window=4), 2, 1, 10**6)
    last = windows[5:][-1]
    assert (last.epoch, last.number) == (10**6 - 1, windows.per_epoch - 1)
    assert len(windows) == 10**6 * windows.per_epoch
    assert next(iter(windows[len(windows) // 2 :])) == windows[len(windows) // 2]
