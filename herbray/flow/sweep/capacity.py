"""How a sweep shares the cluster among its trials: as many at once as surely find room, or what is missing."""

import math
from collections.abc import Sequence

from herbray.flow.cluster.placement import Node, max_cpus_each, process_slots
from herbray.flow.sweep.controller import DRIVER_CPUS, Room
from herbray.flow.training.specification import Train


def share(
    train: Train,
    nodes: Sequence[Node],
    feed: float,
    pending: int,
    concurrent: int | None = None,
    cores: int | None = None,
) -> Room:
    """Share the cluster among trials, so that those that start at once can all run.

    Args:
        train: what all trials share.
        nodes: of the cluster. A trial takes a GPU a worker if the cluster has as many.
        feed: CPUs of a task that feeds workers; each trial must have room for one.
        pending: trials to run.
        concurrent: trials at once; None: as many as there is room for.
        cores: of this machine, if it is the cluster: a small one claims more CPUs than it has.

    Raises:
        ValueError: they cannot; the message says what is missing.
    """
    workers, each, cpus = train.most_workers, train.cpus_per_worker, sum(node.cpus for node in nodes)
    gpus = sum(node.gpus for node in nodes)
    on_gpus = int(gpus >= workers)
    beside = feed + DRIVER_CPUS
    most = math.floor(cpus / (workers * (each or 0.9) + beside))  # a little less than a CPU: drivers take a little
    if on_gpus:
        most = min(most, int(gpus // workers))
    if cores:
        most = min(most, cores // workers)
    for at_once in [concurrent] if concurrent else range(min(pending, max(1, most)), 0, -1):
        size = each
        if size is None:
            rest = (cpus / at_once - beside) / workers
            size = rest if rest < 1 else 1.0 if on_gpus else float(math.floor(rest))
            size = min(size, max_cpus_each(_less(nodes, at_once), at_once * workers, on_gpus))
            size = max(0.25, math.floor(100 * size + 1e-9) / 100)
        if not (missing := _missing(nodes, at_once, workers, size, feed, on_gpus)):
            return Room(at_once, size)
    raise ValueError(
        f"{at_once} at once, each trial {workers} workers of {size:g} CPUs, {feed:g} for a task that feeds them "
        f"and {DRIVER_CPUS:g} for its driver: {missing}; lower concurrent, train.workers or train.cpus_per_worker, or "
        "add nodes"
    )


def _less(nodes: Sequence[Node], drivers: int) -> list[Node]:
    """What is left of each node for workers, wherever Ray puts the trials' own processes."""
    return [Node(node.cpus - drivers * DRIVER_CPUS, node.gpus) for node in nodes]


def _missing(nodes: Sequence[Node], at_once: int, workers: int, each: float, feed: float, gpu: int) -> str:
    """What such trials lack, wherever Ray puts their processes; "" if nothing: none of them waits for ever."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    wanted, count = at_once * workers, len(nodes)
    if (need := at_once * (workers * each + feed + DRIVER_CPUS)) > cpus + 1e-9:
        return f"they need {need:g} CPUs and the cluster has {cpus:g}"
    if gpu and wanted > gpus:
        return f"they need {wanted} GPUs and the cluster has {gpus:g}"
    left = _less(nodes, at_once)
    held = [process_slots(node, each, gpu) for node in left]
    if (seats := sum(held)) < wanted:
        of = f"{each:g} CPUs and a GPU" if gpu else f"{each:g} CPUs"
        return f"they need {wanted} places of {of} beside the drivers and the cluster's {count} nodes have {seats}"
    rest = max(node.cpus - n * each for node, n in zip(left, held, strict=True))
    spare = each * math.ceil((seats - wanted) / count)  # empty places, spread over the nodes as badly as may be
    untouched = sum(node.cpus >= feed for node in nodes) > wanted + at_once
    if max(rest, spare) + 1e-9 < feed and not untouched:
        return f"workers may leave no node with {feed:g} CPUs for a task that feeds them"
    return ""
