"""The one door to a Ray cluster, and the progress that every job shows."""

import contextlib
import logging
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from herbray.flow.seats import Node

console = Console(stderr=True)


@contextmanager
def connected(dashboard: bool = False) -> Iterator[None]:
    """Be connected to a cluster: the one already joined, the one `RAY_ADDRESS` names, else one on this machine.

    A cluster that was started here is stopped at the end. It has a dashboard, on this machine alone, where that is
    asked for: Train asks it which of its own actors live.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    address = os.environ.get("RAY_ADDRESS")
    if address:  # http://… is the dashboard's, for `ray job submit`; a driver on that machine finds the cluster itself
        ray.init(address="auto" if address.startswith("http") else None, logging_level=logging.WARNING)
    else:
        _start(dashboard)
    ctx = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after its import, which sets it; the bars below are ours
    ctx.enable_progress_bars = False
    ctx.execution_options.preserve_order = True
    try:
        yield
    finally:
        ray.shutdown()


def _start(dashboard: bool) -> None:
    """A local cluster whose socket paths stay short and whose store fits beside the work."""
    cores = os.cpu_count() or 1
    _private_token()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ warnings speak of Ray Data's own actors
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away; a process less
    store = int(min(2 * 2**30, max(200 * 2**20, psutil.virtual_memory().available * 0.1)))
    with _at_known_address() if dashboard else contextlib.nullcontext(None) as environment:
        ray.init(
            address="local",
            num_cpus=max(4, cores),  # two train workers and the tasks that feed them, on the smallest laptop too
            object_store_memory=store,
            include_dashboard=dashboard,
            log_to_driver=bool(os.environ.get("HERBRAY_VERBOSE")),
            logging_level=logging.ERROR,
            runtime_env=environment,
            _temp_dir=tempfile.mkdtemp(prefix="hb", dir=_short_tmp()),
        )


@contextmanager
def _at_known_address() -> Iterator[dict[str, dict[str, str]]]:
    """The environment of a cluster whose processes know which one is theirs.

    Ray's own cleaner of placement groups, which frees the CPUs of stopped trials, asks "the" cluster of this machine:
    where there are two it dies, and a sweep waits for CPUs that nobody holds. It asks the one that `RAY_ADDRESS` names.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = os.environ.get("RAY_GCS_SERVER_PORT")
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    try:
        yield {"env_vars": {"RAY_ADDRESS": f"127.0.0.1:{port}"}}
    finally:
        os.environ.pop("RAY_GCS_SERVER_PORT")
        if before is not None:
            os.environ["RAY_GCS_SERVER_PORT"] = before


def _private_token() -> None:
    """The token of clusters on this machine, for its owner alone: Ray would make the same file for all to read."""
    path = Path.home() / ".ray" / "auth_token"
    if path.exists() or any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another job of ours was quicker
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))


def _short_tmp() -> str:
    """Unix sockets allow 107 characters of path; Ray uses about 60 of them."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 30 or sys.platform == "win32" else "/tmp"  # noqa: S108  (mkdtemp makes a private folder)


def resource(name: str) -> float:
    """How much of "CPU" or "GPU" the whole cluster has."""
    return float(ray.cluster_resources().get(name, 0.0))  # type: ignore[no-untyped-call]


def nodes() -> list[Node]:
    """What each living node has."""
    living = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(float(has.get("CPU", 0.0)), float(has.get("GPU", 0.0))) for has in living]


def as_they_end(refs: Sequence[Any]) -> Iterator[Any]:
    """Tasks' references, whichever ends first."""
    waiting = list(refs)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        yield from done


def got(ref: Any) -> Any:  # noqa: ANN401  (whatever the task returns)
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


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Mean since the start: Ray reports in bursts, and a rate of bursts says nothing."""
        elapsed, unit = task.elapsed, task.fields.get("unit", "")
        if not elapsed or not task.completed:
            return Text(f"– {unit}/s", style="cyan")
        rate = task.completed / elapsed
        return Text(f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{60 * rate:,.1f} {unit}/min", style="cyan")


def progress() -> Progress:
    """A bar with done, rate and time left; give tasks a `unit`. In a log file it is one line at the end."""
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        refresh_per_second=2,
    )
