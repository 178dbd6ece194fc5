"""What a drill is, and the tools that drills share: a cluster of several nodes, jobs beside it, a killer by process id.

A drill is a function that gets a folder of its own, breaks something in a real job and returns what it found; and a
line in a dictionary of its module: `{"name": Drill(function, bound_s)}`. `run.py` joins the dictionaries, runs each
drill in a process of its own, ends it when its bound has passed, and makes the table.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Found:
    """A row of the table.

    Attributes:
        killed: what was killed or spoiled.
        when: at which moment.
        result: what came of it, compared with an undisturbed run where there is one.
        good: whether that is what is promised.
        recovery_s: from the harm to the first new step, or to the clear error.
        redone: windows (or files, trials: say so in `result`) that were worked on twice.
        at_most: so many of them are allowed; more is not good.
    """

    killed: str
    when: str
    result: str
    good: bool
    recovery_s: float | None = None
    redone: int | None = None
    at_most: int | None = None


@dataclass(frozen=True)
class Drill:
    """A drill and its bound: when that has passed, it hangs."""

    run: Callable[[Path], Found]
    bound_s: float
    short: bool = False  # part of `make drills-short`


class TooLong(AssertionError):
    """Something that was waited for did not come."""


def until(look: Callable[[], object], seconds: float, what: str) -> object:
    """The first result of `look` that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise TooLong(f"{what}: not within {seconds:g} s")


def kill(pid: int) -> float:
    """SIGKILL, to that process alone; returns the time."""
    os.kill(pid, signal.SIGKILL)
    return time.time()


def join(cluster: object, **settings: object) -> None:
    """Add a node; a second try where the machine is busy: Ray gives a raylet 30 seconds, and no setting."""
    try:
        cluster.add_node(**settings)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        cluster.add_node(**settings)


@contextmanager
def nodes(*cpus: float) -> Iterator:
    """A Ray cluster with a node for each number of CPUs, each with a raylet of its own; the first is the head."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 120 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=False)
    try:
        join(cluster, num_cpus=cpus[0], **small)
        for each in cpus[1:]:
            join(cluster, num_cpus=each, object_store_memory=120 * 2**20)
        yield cluster
    finally:
        cluster.shutdown()


def started(command: list[object], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen:
    """A process beside this one, its output in a file."""
    quiet = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
    with log.open("ab") as file:
        words = [sys.executable, *map(str, command)]
        return subprocess.Popen(words, stdout=file, stderr=file, env=os.environ | quiet | dict(env or {}))


def ended(process: subprocess.Popen, seconds: float, log: Path) -> int:
    """Its exit code; a drill whose job does not end fails."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise TooLong(f"the job did not end within {seconds:g} s; {log}:\n{log.read_text()[-2000:]}") from None


def lines(path: Path) -> list[dict]:
    """Rows of a file of JSON lines; half a line is none."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows
