"""The capacity of the cluster: how many trials run at once and how many CPUs each of their workers gets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from herbray.flow.cluster.placement import Node, max_cpus_each, process_slots
from herbray.flow.training.specification import Train

DRIVER_CPUS: Final = 0.01
"""CPUs that a trial's own process reserves. The process only waits, but Tune refuses zero."""


@dataclass(frozen=True)
class Allocation:
    """How trials share the cluster.

    Attributes:
        concurrent: trials at once.
        cpus: CPUs of each worker of each trial.
    """

    concurrent: int
    cpus: float


def allocate(
    train: Train,
    nodes: Sequence[Node],
    feed: float,
    pending: int,
    concurrent: int | None = None,
    cores: int | None = None,
) -> Allocation:
    """Divide the cluster among trials so that all trials that start at once can run.

    Args:
        train: settings that all trials share.
        nodes: nodes of the cluster. Each worker gets a GPU if the cluster has a GPU for each worker of one trial.
        feed: CPUs of a task that feeds workers. At least one such task must fit.
        pending: number of trials to run.
        concurrent: number of trials at once; None: as many as fit.
        cores: CPU cores of this machine if the machine is the whole cluster: a small machine declares more CPUs to Ray
            than it has.

    Raises:
        ValueError: the trials do not fit; the message says what is missing.
    """
    workers, each, cpus = train.most_workers, train.cpus_per_worker, sum(node.cpus for node in nodes)
    gpus = sum(node.gpus for node in nodes)
    on_gpus = int(gpus >= workers)
    overhead = feed + DRIVER_CPUS
    most = math.floor(cpus / (workers * (each or 0.9) + overhead))  # 0.9: the overhead takes a little of each CPU
    if on_gpus:
        most = min(most, int(gpus // workers))
    if cores:
        most = min(most, cores // workers)
    for at_once in [concurrent] if concurrent else range(min(pending, max(1, most)), 0, -1):
        size = each
        if size is None:
            rest = (cpus / at_once - overhead) / workers
            size = rest if rest < 1 else 1.0 if on_gpus else float(math.floor(rest))
            size = min(size, max_cpus_each(_without_drivers(nodes, at_once), at_once * workers, on_gpus))
            size = max(0.25, math.floor(100 * size + 1e-9) / 100)
        if not (shortage := _shortage(nodes, at_once, workers, size, feed, on_gpus)):
            return Allocation(at_once, size)
    raise ValueError(
        f"{at_once} trials at once, each with {workers} workers of {size:g} CPUs, {feed:g} CPUs for a task that feeds "
        f"them and {DRIVER_CPUS:g} for its driver: {shortage}; lower concurrent, train.workers or "
        "train.cpus_per_worker, or add nodes"
    )


def _without_drivers(nodes: Sequence[Node], drivers: int) -> list[Node]:
    """What each node has left for workers if Ray puts all drivers on it: the worst case."""
    return [Node(node.cpus - drivers * DRIVER_CPUS, node.gpus) for node in nodes]


def _shortage(nodes: Sequence[Node], at_once: int, workers: int, each: float, feed: float, gpu: int) -> str:
    """What the trials lack in the worst placement of their processes; "" if all of them are sure to start."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    wanted, count = at_once * workers, len(nodes)
    if (need := at_once * (workers * each + feed + DRIVER_CPUS)) > cpus + 1e-9:
        return f"they need {need:g} CPUs and the cluster has {cpus:g}"
    if gpu and wanted > gpus:
        return f"they need {wanted} GPUs and the cluster has {gpus:g}"
    left = _without_drivers(nodes, at_once)
    fitting = [process_slots(node, each, gpu) for node in left]
    if (total := sum(fitting)) < wanted:
        worker = f"{each:g} CPUs and a GPU" if gpu else f"{each:g} CPUs"
        return (
            f"they need room for {wanted} workers of {worker} in addition to the drivers, and the cluster's {count} "
            f"nodes hold {total}"
        )
    rest = max(node.cpus - n * each for node, n in zip(left, fitting, strict=True))
    spare = each * math.ceil((total - wanted) / count)  # unused places, spread over the nodes in the worst way
    untouched = sum(node.cpus >= feed for node in nodes) > wanted + at_once
    if max(rest, spare) + 1e-9 < feed and not untouched:
        return f"workers may leave no node with {feed:g} CPUs for a task that feeds them"
    return ""
