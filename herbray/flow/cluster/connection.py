"""The connection to a Ray cluster; every job connects through this module."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from rich.markup import escape

from herbray.console import logs
from herbray.console.progress import console, progress
from herbray.flow.cluster import core_log, local, worker_lines
from herbray.flow.cluster.placement import Node

__all__ = [
    "connect",
    "console",
    "fetch_result",
    "iter_finished",
    "living_nodes",
    "print_left_out",
    "progress",
    "total_resource",
]


def print_left_out(lines: Iterable[str]) -> None:
    """Print what a job leaves out, one line per item, above its progress bar."""
    for line in lines:
        console.print(f"[bold]left out[/bold]  {escape(line)}", highlight=False, soft_wrap=True)


@contextmanager
def connect(dashboard: bool = False, cpus: int | None = None) -> Iterator[None]:
    """Connect to a cluster: the one already joined, else the one in `RAY_ADDRESS`, else a new one on this machine.

    A cluster that was started here is stopped at the end.

    Args:
        dashboard: see `local.start`.
        cpus: see `local.start`.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    address = os.environ.get("RAY_ADDRESS")
    with worker_lines.filter_output():
        with core_log.silence():
            if address:
                _join(address)
            else:
                local.start(dashboard, cpus)
        _configure_ray_data()
        try:
            yield
        finally:
            ray.shutdown()


def _configure_ray_data() -> None:
    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(
        logs.library_level()
    )  # importing ray.data sets the level, so set it afterwards
    context.enable_progress_bars = logs.log_detail() == "debug"  # herbray's own progress bars show the same
    context.execution_options.preserve_order = True


def _join(address: str) -> None:
    """Join a running cluster. If the address is the dashboard's (http://), Ray finds the cluster on this machine."""
    ray.init(
        address="auto" if address.startswith("http") else None,
        runtime_env=worker_lines.runtime_environment(),
        **worker_lines.logging_settings(),
    )


def total_resource(name: str) -> float:
    """The total amount of "CPU" or "GPU" in the cluster."""
    return float(ray.cluster_resources().get(name, 0.0))  # type: ignore[no-untyped-call]


def living_nodes() -> list[Node]:
    """The CPUs and GPUs of each living node."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(float(each.get("CPU", 0.0)), float(each.get("GPU", 0.0))) for each in resources]


def iter_finished(refs: Sequence[Any]) -> Iterator[Any]:
    """Yield references of tasks in the order in which the tasks finish."""
    waiting = list(refs)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        yield from done


def fetch_result(ref: Any) -> Any:  # noqa: ANN401  (whatever the task returns)
    """Wait for a task and return its result.

    Raises:
        ValueError: the task raised it for bad input; the message is the task's own, without Ray's stack trace.
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause)) from None
        raise
