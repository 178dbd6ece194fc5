"""How many equal processes suit the nodes of a cluster, whether each finds a place, and how large they may be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """What a node has."""

    cpus: float
    gpus: float = 0.0


def suitable_count(nodes: Sequence[Node], cpus: float = math.inf) -> int:
    """How many processes to start where nobody says: one a GPU; without GPUs one for so many CPUs, one a node at least.

    Args:
        nodes: of the cluster; one without CPUs takes no part.
        cpus: that one process makes good use of; infinite where its threads take a node's whole processor.
    """
    if gpus := sum(math.floor(node.gpus) for node in nodes):
        return gpus
    return max(1, sum(max(1, math.floor(node.cpus / cpus)) for node in nodes if node.cpus > 0))


def process_slots(node: Node, cpus: float, gpus: int = 0) -> int:
    """How many processes of so many CPUs and GPUs a node holds."""
    held = math.floor(node.cpus / cpus + 1e-9)
    return max(0, min(held, math.floor(node.gpus / gpus)) if gpus else held)


def max_cpus_each(nodes: Sequence[Node], count: int, gpus: int = 0) -> float:
    """The most CPUs that each of `count` equal processes can have, none of which reaches over two nodes; 0: no room."""
    sizes = {node.cpus / k for node in nodes for k in range(1, count + 1) if node.cpus > 0}
    fit = (size for size in sizes if sum(process_slots(node, size, gpus) for node in nodes) >= count)
    return max(fit, default=0.0)


@dataclass(frozen=True)
class Pool:
    """Equal processes: how many, and the CPUs and GPUs that each reserves."""

    count: int
    cpus: float
    gpus: int = 0


def plan_pool(nodes: Sequence[Node], wanted: int | None, most: int, cpus: float = math.inf) -> Pool:
    """Processes that all find room at once, as wide as the nodes that hold them allow.

    Each takes a GPU where the cluster has enough. Then only nodes with GPUs count: a small node that cannot hold such
    a process does not narrow it.

    Args:
        nodes: of the cluster.
        wanted: processes; None: as many as suit the nodes.
        most: there is no work for more.
        cpus: that one process makes good use of, see `suitable_count`.
    """
    count = min(wanted or suitable_count(nodes, cpus), most)
    gpus = int(sum(math.floor(node.gpus) for node in nodes) >= count)
    size = max_cpus_each(nodes, count, gpus) or 1.0  # no room now: nodes may come
    return Pool(count, float(math.floor(size)) if size >= 1 else max(0.01, math.floor(100 * size) / 100), gpus)
