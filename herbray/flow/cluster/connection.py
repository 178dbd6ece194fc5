"""The one door to a Ray cluster, and the progress that every job shows."""

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

__all__ = ["as_they_end", "connected", "console", "got", "nodes", "progress", "resource"]


def print_left_out(lines: Iterable[str]) -> None:
    """Tell what a job leaves out, a line each, beside its progress."""
    for line in lines:
        console.print(f"[bold]left out[/bold]  {escape(line)}", highlight=False, soft_wrap=True)


@contextmanager
def connect(dashboard: bool = False, cpus: int | None = None) -> Iterator[None]:
    """Be connected to a cluster: the one already joined, the one `RAY_ADDRESS` names, else one on this machine.

    A cluster that was started here is stopped at the end. See `local.start` for how it is.
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
    logging.getLogger("ray.data").setLevel(logs.library_level())  # after its import, which sets it
    context.enable_progress_bars = logs.log_detail() == "debug"  # ours show the same
    context.execution_options.preserve_order = True


def _join(address: str) -> None:
    """Join a running cluster. http://… is the dashboard's: a driver on that machine finds the cluster itself."""
    ray.init(
        address="auto" if address.startswith("http") else None,
        runtime_env=worker_lines.runtime_environment(),
        **worker_lines.logging_settings(),
    )


def total_resource(name: str) -> float:
    """How much of "CPU" or "GPU" the whole cluster has."""
    return float(ray.cluster_resources().get(name, 0.0))  # type: ignore[no-untyped-call]


def living_nodes() -> list[Node]:
    """What each living node has."""
    living = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(float(has.get("CPU", 0.0)), float(has.get("GPU", 0.0))) for has in living]


def iter_finished(refs: Sequence[Any]) -> Iterator[Any]:
    """Tasks' references, whichever ends first."""
    waiting = list(refs)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        yield from done


def fetch_result(ref: Any) -> Any:  # noqa: ANN401  (whatever the task returns)
    """A task's result.

    Raises:
        ValueError: the task's, for bad input, in its own words and without Ray's stack.
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause)) from None
        raise
