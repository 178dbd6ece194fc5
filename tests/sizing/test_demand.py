import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herbray.data.planning.plan import Stream, plan_epoch
from herbray.sizing.demand import (
    Demand,
    Traffic,
    checkpoint_count,
    expected_bags,
    expected_groups,
    fetched_bytes,
    ring_bytes,
    schedule_s,
    steps_of_epoch,
    transfer_s,
)
from herbray.sizing.specification import Cluster

GB = 1e9
COUNTS = st.integers(1, 10_000)


def cluster(**settings):
    return Cluster(**{"nodes": 4, "network_mb_s": 500, "disk_mb_s": 200, "memory_gb": 20, "disk_gb": 5} | settings)


def test_traffic_uses_all_nodes_until_the_store_limits_them():
    traffic = Traffic(read=40 * GB, written=10 * GB)
    assert transfer_s(traffic, cluster()) == {"network": 40e9 / (4 * 500e6)}
    assert transfer_s(traffic, cluster(store_mb_s=1000)) == {"network": 40.0}
    assert transfer_s(traffic, cluster(store_mb_s=9000)) == {"network": 20.0}


def test_without_a_network_reading_and_writing_take_turns_on_the_disk():
    assert transfer_s(Traffic(3 * GB, 1 * GB), cluster(nodes=1, network_mb_s=None)) == {"disk": 20.0}


def test_the_longest_task_may_start_last():
    assert schedule_s(5, 1, 4) == 2  # five equal tasks on four slots take two rounds
    assert schedule_s(100, 60, 4) == 70
    assert schedule_s(1, 1, 4) == 1
    assert schedule_s(9, 3, 2.9) == 6
    assert schedule_s(0, 0, 4) == 0


def test_gradients_cross_the_network_only_between_nodes():
    assert ring_bytes(1_000_000, 1) == 0
    assert ring_bytes(1_000_000, 2) == 4_000_000
    assert ring_bytes(1_000_000, 4) == 6_000_000


def test_checkpoints_are_written_per_epoch_and_half_interval():
    assert checkpoint_count(10, 1000, 300) == 10 + 6
    assert checkpoint_count(10, 1000, None) == 10
    assert checkpoint_count(10, 100, 300) == 10


def test_a_split_that_a_node_can_hold_is_fetched_once_a_node():
    assert fetched_bytes(5 * GB, 25, cluster(memory_gb=4, disk_gb=6)) == 4 * 5 * GB
    assert fetched_bytes(5 * GB, 25, cluster(memory_gb=10, disk_gb=0)) == 4 * 5 * GB
    assert fetched_bytes(5 * GB, 25, cluster(memory_gb=4, disk_gb=4)) == 25 * 5 * GB
    assert fetched_bytes(5 * GB, 1, cluster(memory_gb=4, disk_gb=6)) == 5 * GB  # the nodes share one epoch


@given(
    st.lists(st.integers(1, 32), min_size=1, max_size=120),
    st.sampled_from([(8, 1), (8, 2), (12, 4)]),
    st.integers(1, 40),
    st.integers(1, 4),
)
def test_steps_are_those_of_the_epoch_plan(sizes, shape, window, align):
    batch, group = shape
    rows = [
        {"split": "train", "file": "f", "row_group": n, "label": str(n), "rows": size} for n, size in enumerate(sizes)
    ]
    index = pa.Table.from_pylist(rows).sort_by("row_group")
    stream = Stream(batch=batch, window=window, align=align)
    windows = plan_epoch(index, [str(n) for n in range(len(sizes))], stream, group, 89, 0)
    groups = sum(math.ceil(size / group) for size in sizes)
    steps = steps_of_epoch(len(sizes), groups, batch, group, window, align)
    assert steps == len(windows) * windows[0].batches


def test_bags_and_groups_are_near_those_of_drawn_labels():
    labels = [1 + 7 * n % 61 for n in range(300)]  # sizes 1 to 61, each about equally often
    bags = sum(math.ceil(size / 8) for size in labels)
    assert expected_bags(sum(labels), len(labels), 8) == pytest.approx(bags, rel=0.03)
    groups = sum(math.ceil(min(8, size - first) / 4) for size in labels for first in range(0, size, 8))
    assert expected_groups(sum(labels), len(labels), 4) == pytest.approx(groups, rel=0.01)
    assert expected_groups(1000, 40, 1) == 1000
    assert expected_bags(5, 5, 32) == 5


@given(COUNTS, COUNTS, st.integers(1, 64))
def test_more_images_never_need_fewer_bags(images, more, bag):
    labels = min(images, 50)
    assert expected_bags(images, labels, bag) <= expected_bags(images + more, labels, bag) <= images + more


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=30), st.integers(1, 20), st.floats(0, 1e4))
def test_a_schedule_is_never_shorter_than_its_parts(tasks, slots, more):
    found = schedule_s(sum(tasks), max(tasks), slots)
    assert found >= max(max(tasks), sum(tasks) / slots) * 0.9999
    assert schedule_s(sum(tasks), max(tasks), slots + 1) <= found * 1.0001
    assert schedule_s(sum(tasks) + more, max([*tasks, more]), slots) >= found * 0.9999


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.integers(1, 64), st.floats(1, 1e4))
def test_more_bytes_take_longer_and_more_nodes_shorter(read, more, nodes, rate):
    few, many = (cluster(nodes=n, network_mb_s=rate, store_mb_s=2000) for n in (nodes, nodes + 1))
    assert transfer_s(Traffic(read), few)["network"] <= transfer_s(Traffic(read + more), few)["network"]
    assert transfer_s(Traffic(read), many)["network"] <= transfer_s(Traffic(read), few)["network"]


def test_the_slowest_resource_sets_the_pace_and_the_start_is_added():
    demand = Demand("train", 1, 1, Traffic(), {"network": 10.0, "GPU": 50.0, "decode": 20.0}, alone=5.0)
    assert (demand.total_s, demand.binds) == (55.0, "GPU")
    short = Demand("train", 1, 1, Traffic(), {"GPU": 2.0}, alone=5.0)
    assert (short.total_s, short.binds) == (7.0, "start")


def test_a_missing_rate_gives_no_time():
    assert Demand("train", 1, 1, Traffic(), {"network": 10.0, "GPU": None}).total_s is None
    assert Demand("train", 1, 1, Traffic(), {"network": 10.0}, missing=("measure it",)).total_s is None
    assert Demand("train", 1, 1, Traffic(), {"network": 10.0, "GPU": None}).binds == ""
