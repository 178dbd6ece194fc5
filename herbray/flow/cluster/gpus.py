"""The GPUs that a job asks for: it waits until a cluster that grows has them, or refuses one that never will."""

import os
import time
from typing import Final

import ray
from ray.autoscaler.sdk import request_resources

from herbray.exit_codes import Unreachable
from herbray.flow.cluster import connection
from herbray.flow.cluster.placement import Device, Node, count_gpus

_LOOK_S: Final = 2.0


class NoGpus(Unreachable):
    """The cluster may get GPUs, but had too few as long as the job waited."""


def find_nodes(device: Device, wanted: int, patience_s: float) -> list[Node]:
    """The living nodes, with the GPUs that the job may use; `cuda`: after a wait for GPUs.

    Args:
        device: see `Device`.
        wanted: GPUs, one for each process.
        patience_s: seconds to wait.

    Raises:
        ValueError: the job demands more GPUs than the cluster can ever have.
        NoGpus: the GPUs did not come within the time.
    """
    nodes = connection.living_nodes()
    if device == "cpu":
        return [Node(node.cpus) for node in nodes]
    if device == "cuda" and count_gpus(nodes) < wanted:
        _refuse_impossible(wanted, count_gpus(nodes))
        return _wait(wanted, nodes, patience_s)
    return nodes


def _refuse_impossible(wanted: int, there: int) -> None:
    """Refuse a job that would wait in vain: the cluster's autoscaler has told how many GPUs it may have in all."""
    message = f"device=cuda: GPUs needed: {wanted}, found: {there}"
    way_out = "; set device=auto to compute on CPUs, lower the number of processes, or use a cluster with GPUs"
    if not os.environ.get("RAY_ADDRESS"):
        raise ValueError(f"{message} on this machine{way_out}")
    most = _most_gpus()
    if most is not None and most < wanted:
        raise ValueError(f"{message}; the cluster may grow to {most}{way_out}")


def _most_gpus() -> int | None:
    """The most GPUs that the autoscaler may reach; None: unknown, or without limit.

    An autoscaler of version 2, such as KubeRay's, writes its configuration into the cluster's key-value store; one of
    version 1 does not.
    """
    config = ray._private.state.state.get_cluster_config()
    groups = list(config.node_group_configs) if config is not None else []
    if not groups or any(group.max_count < 0 and group.resources.get("GPU", 0) for group in groups):
        return None
    most: int = sum(int(group.resources.get("GPU", 0)) * group.max_count for group in groups)
    return most


def _wait(wanted: int, nodes: list[Node], patience_s: float) -> list[Node]:
    """Ask the autoscaler for GPUs until they are there. The request ends then: processes that use a node keep it."""
    connection.console.print(
        f"waiting up to {patience_s:g} s for GPUs: needed: {wanted}, found: {count_gpus(nodes)}",
        highlight=False,
        soft_wrap=True,
    )
    end = time.monotonic() + patience_s
    request_resources(bundles=[{"GPU": 1}] * wanted)
    try:
        while time.monotonic() < end:
            time.sleep(_LOOK_S)
            if count_gpus(nodes := connection.living_nodes()) >= wanted:
                return nodes
    finally:
        request_resources(bundles=[])
    raise NoGpus(
        f"device=cuda: GPUs needed: {wanted}, found after patience_s={patience_s:g}: {count_gpus(nodes)}; the same "
        "command tries again, device=auto computes on CPUs"
    )
