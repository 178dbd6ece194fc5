"""How many equal processes to run on the nodes of a cluster, and how many CPUs and GPUs each can have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Device = Literal["auto", "cpu", "cuda"]
"""On what a job computes, see `DEVICE_HELP`."""

DEVICE_HELP: Final = (
    "auto: on GPUs if the cluster has enough of them when the job starts, else on CPUs; cpu: on CPUs; cuda: on GPUs, "
    "for which the job waits up to patience_s if the cluster can grow"
)


@dataclass(frozen=True)
class Node:
    """The resources of a node."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0  # bytes that tasks may reserve


def count_gpus(nodes: Sequence[Node]) -> int:
    """Whole GPUs of all nodes together."""
    return sum(math.floor(node.gpus) for node in nodes)


def suitable_count(nodes: Sequence[Node], cpus: float = math.inf) -> int:
    """The default number of processes: one per GPU; without GPUs one per `cpus` CPUs, but at least one per node.

    Args:
        nodes: of the cluster; nodes without CPUs are ignored.
        cpus: CPUs that one process uses well; infinite if its threads use all of a node's CPUs.
    """
    if gpus := count_gpus(nodes):
        return gpus
    return max(1, sum(max(1, math.floor(node.cpus / cpus)) for node in nodes if node.cpus > 0))


def process_slots(node: Node, cpus: float, gpus: int = 0) -> int:
    """How many processes with this many CPUs and GPUs fit on a node."""
    slots = math.floor(node.cpus / cpus + 1e-9)
    return max(0, min(slots, math.floor(node.gpus / gpus)) if gpus else slots)


def max_cpus_each(nodes: Sequence[Node], count: int, gpus: int = 0) -> float:
    """The most CPUs that each of `count` equal processes can have, each on a single node; 0 if they do not fit."""
    sizes = {node.cpus / k for node in nodes for k in range(1, count + 1) if node.cpus > 0}
    fit = (size for size in sizes if sum(process_slots(node, size, gpus) for node in nodes) >= count)
    return max(fit, default=0.0)


@dataclass(frozen=True)
class Pool:
    """A number of equal processes, and the CPUs and GPUs that each reserves."""

    count: int
    cpus: float
    gpus: int = 0


def plan_pool(nodes: Sequence[Node], wanted: int | None, most: int, cpus: float = math.inf) -> Pool:
    """Plan processes that all fit at the same time, each with as many CPUs as the nodes allow.

    Each process reserves a GPU if the cluster has enough GPUs. Then only nodes with GPUs count: small nodes without one
    do not reduce the CPUs of a process.

    Args:
        nodes: of the cluster.
        wanted: number of processes; None: `suitable_count`.
        most: upper limit, e.g. the number of work items.
        cpus: CPUs that one process uses well, see `suitable_count`.
    """
    count = min(wanted or suitable_count(nodes, cpus), most)
    gpus = int(count_gpus(nodes) >= count)
    size = max_cpus_each(nodes, count, gpus) or 1.0  # nothing fits now, but nodes may join later
    return Pool(count, float(math.floor(size)) if size >= 1 else max(0.01, math.floor(100 * size) / 100), gpus)
