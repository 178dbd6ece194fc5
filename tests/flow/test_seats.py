import math

import pytest

from herbray.flow.seats import Node, places, suitable, widest


@pytest.mark.parametrize(
    ("nodes", "cpus", "count"),
    [
        ([Node(4)], math.inf, 1),  # two workers on a machine's cores are slower than one with their threads
        ([Node(16), Node(16), Node(8)], math.inf, 3),
        ([Node(0), Node(16), Node(16)], math.inf, 2),  # a head that only directs
        ([Node(8), Node(32, 4), Node(32, 4)], math.inf, 8),
        ([], math.inf, 1),
        ([Node(4)], 2, 2),
        ([Node(3), Node(3)], 2, 2),  # three of two CPUs would need a node of their own
        ([Node(1), Node(1)], 2, 2),
    ],
)
def test_a_process_a_gpu_or_one_for_so_many_cpus_of_a_node(nodes, cpus, count):
    assert suitable(nodes, cpus) == count


def test_equal_processes_are_as_wide_as_the_nodes_let_them():
    assert widest([Node(4), Node(16)], 2) == 8
    assert widest([Node(4), Node(16)], 5) == 4
    assert widest([Node(4), Node(16, 1)], 1, gpus=1) == 16
    assert widest([Node(4), Node(16, 1)], 2, gpus=1) == 0
    assert [places(node, 0.99, 1) for node in (Node(4, 2), Node(4), Node(0.5, 3))] == [2, 0, 0]
