import math

import pytest

from herbray.flow.cluster.placement import Node, Pool, max_cpus_each, plan_pool, process_slots, suitable_count


@pytest.mark.parametrize(
    ("nodes", "cpus", "count"),
    [
        ([Node(4)], math.inf, 1),  # two workers on one machine are slower than one worker with all threads
        ([Node(16), Node(16), Node(8)], math.inf, 3),
        ([Node(0), Node(16), Node(16)], math.inf, 2),  # the head runs no processes
        ([Node(8), Node(32, 4), Node(32, 4)], math.inf, 8),
        ([], math.inf, 1),
        ([Node(4)], 2, 2),
        ([Node(3), Node(3)], 2, 2),  # a third process of two CPUs would span two nodes
        ([Node(1), Node(1)], 2, 2),
    ],
)
def test_one_process_per_gpu_or_per_number_of_cpus(nodes, cpus, count):
    assert suitable_count(nodes, cpus) == count


def test_equal_processes_get_as_many_cpus_as_the_nodes_allow():
    assert max_cpus_each([Node(4), Node(16)], 2) == 8
    assert max_cpus_each([Node(4), Node(16)], 5) == 4
    assert max_cpus_each([Node(4), Node(16, 1)], 1, gpus=1) == 16
    assert max_cpus_each([Node(4), Node(16, 1)], 2, gpus=1) == 0
    assert [process_slots(node, 0.99, 1) for node in (Node(4, 2), Node(4), Node(0.5, 3))] == [2, 0, 0]


MIXED = [Node(4), Node(8), Node(8), Node(64, 8)]  # a head, two nodes without GPUs, one with


@pytest.mark.parametrize(
    ("nodes", "wanted", "most", "expected"),
    [
        (MIXED, None, 100, Pool(8, 8, 1)),  # 8 CPUs per GPU; the small head does not count
        (MIXED, None, 3, Pool(3, 21, 1)),
        (MIXED, 12, 100, Pool(12, 6, 0)),  # more processes than GPUs: any node counts
        ([Node(0), *MIXED[1:]], None, 100, Pool(8, 8, 1)),  # the head runs no processes
        ([Node(32), Node(2, 4)], None, 100, Pool(4, 0.5, 1)),  # few CPUs, many GPUs: no process waits for a CPU
        ([Node(64, 4), Node(8, 4)], None, 100, Pool(8, 2, 1)),  # all processes are equal
        ([Node(4), Node(16)], None, 100, Pool(10, 2, 0)),
        ([Node(2), Node(16)], 1, 100, Pool(1, 16, 0)),
        ([Node(4)], 3, 100, Pool(3, 1, 0)),
        ([Node(4)], 7, 100, Pool(7, 0.57, 0)),
        ([], None, 100, Pool(1, 1, 0)),
    ],
)
def test_processes_are_sized_by_the_nodes_that_can_hold_them(nodes, wanted, most, expected):
    made = plan_pool(nodes, wanted, most, 2)
    assert made == expected
    assert not nodes or sum(process_slots(node, made.cpus, made.gpus) for node in nodes) >= made.count
