"""The connection to a Ray cluster; every job connects through this module."""

import logging
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import ray
from rich.markup import escape

from herbray import interruption
from herbray.console import logs
from herbray.console.progress import console, progress
from herbray.exit_codes import Unreachable
from herbray.flow.cluster import core_log, local, worker_lines
from herbray.flow.cluster.placement import Node
from herbray.storage import StoreUnreachable, show_all

__all__ = [
    "ClusterRefused",
    "ClusterUnreachable",
    "connect",
    "console",
    "fetch_result",
    "iter_finished",
    "living_nodes",
    "print_left_out",
    "progress",
    "total_resource",
]

_PATIENCE_S: Final = 10.0
"""Seconds to wait for a cluster to accept a connection; Ray itself waits for minutes."""


class ClusterUnreachable(Unreachable):
    """No cluster answers at the address in `RAY_ADDRESS`."""


class ClusterRefused(ValueError):
    """The cluster in `RAY_ADDRESS` answers, but refuses this process: another version, or another token."""


def print_left_out(lines: Iterable[str]) -> None:
    """Print what a job leaves out, one line per item, above its progress bar."""
    for line in lines:
        console.print(f"[bold]left out[/bold]  {escape(show_all(line))}", highlight=False, soft_wrap=True)


@contextmanager
def connect(dashboard: bool = False, cpus: int | None = None) -> Iterator[None]:
    """Connect to a cluster: the one already joined, else the one in `RAY_ADDRESS`, else a new one on this machine.

    A cluster that was started here is stopped at the end.

    Args:
        dashboard: see `local.start`.
        cpus: see `local.start`.

    Raises:
        ClusterUnreachable: no cluster answers at this address.
        ClusterRefused: the cluster answers, but refuses this process.
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
        interruption.take_signals()
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
    way_out = "check RAY_ADDRESS and that the cluster runs, then run the same command again"
    _wait_for_answer(address, way_out)
    try:
        ray.init(
            address="auto" if address.startswith("http") else None,
            runtime_env=worker_lines.runtime_environment(),
            **worker_lines.logging_settings(),
        )
    except ConnectionError as error:
        raise ClusterUnreachable(f"no cluster answers at RAY_ADDRESS={address} ({_line(error)}); {way_out}") from error
    except (RuntimeError, ray.exceptions.AuthenticationError) as error:
        raise ClusterRefused(
            f"the cluster at RAY_ADDRESS={address} refuses this process ({_line(error)}); `herbray doctor` compares "
            "versions and checks the token"
        ) from error


def _wait_for_answer(address: str, way_out: str) -> None:
    """Connect to an address of the form HOST:PORT."""
    parts = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^/\]]+)\]?:(?P<port>\d+)", address)
    end = time.monotonic() + _PATIENCE_S
    while parts:
        try:
            socket.create_connection((parts["host"], int(parts["port"])), timeout=_PATIENCE_S).close()
        except OSError as error:
            if time.monotonic() > end:
                raise ClusterUnreachable(
                    f"no cluster answers at RAY_ADDRESS={address} ({error.strerror or error}); {way_out}"
                ) from error
            time.sleep(0.5)
        else:
            return


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def total_resource(name: str) -> float:
    """The total amount of "CPU" or "GPU" in the cluster."""
    return float(ray.cluster_resources().get(name, 0.0))  # type: ignore[no-untyped-call]


def living_nodes() -> list[Node]:
    """The CPUs, GPUs and memory of each living node."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(*(float(each.get(name, 0.0)) for name in ("CPU", "GPU", "memory"))) for each in resources]


def iter_finished(refs: Sequence[Any]) -> Iterator[Any]:
    """Yield references of tasks in the order in which the tasks finish."""
    waiting = list(refs)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        yield from done


def fetch_result(ref: Any) -> Any:  # noqa: ANN401  (whatever the task returns)
    """Wait for a task and return its result.

    Raises:
        Unreachable: the task raised it, because a store or a cluster does not answer.
        ValueError: the task raised it for bad input; the message is the task's own, without Ray's stack trace.
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Unreachable | StoreUnreachable):
            raise Unreachable(str(error.cause)) from None
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause)) from None
        raise
