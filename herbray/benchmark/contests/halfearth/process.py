"""Runs a command and measures it: wall time, CPU time, the peak memory of each of its processes, bytes written."""

import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from herbray.benchmark.harness.race import Measured

_PAUSE_S: Final = 0.1
_SHARE: Final = 0.05  # of the time that sampling takes at most: it reads the whole table of processes
_NAMED: Final = 4  # processes that a measurement names, those with most memory


def run_stage(command: Sequence[str], units: int, folder: Path, log: Path) -> Measured:
    """Run a command to its end.

    The memory of a process is what it does not share, sampled a few times a second. What a process does after its last
    sample is missed, and so is a process that ends between two.

    Args:
        command: program and arguments.
        units: of the measurement.
        folder: where it writes.
        log: file that receives what it prints.

    Raises:
        RuntimeError: the command failed; with the end of what it printed.
    """
    before, start = _folder_bytes(folder), time.perf_counter()
    seconds: dict[psutil.Process, float] = {}
    peaks: dict[str, float] = defaultdict(float)
    total = 0.0
    with log.open("w", encoding="utf-8") as out:
        job = subprocess.Popen([*command], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)  # noqa: S603  (our own command)
        root = psutil.Process(job.pid)
        while job.poll() is None:
            began = time.thread_time()
            total = max(total, _sample(root, seconds, peaks))
            time.sleep(max(_PAUSE_S, (time.thread_time() - began) / _SHARE))
    wall = time.perf_counter() - start
    if job.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)}: exit code {job.returncode}\n{end}")
    largest = sorted(peaks.items(), key=lambda pair: -pair[1])[:_NAMED]
    written = (_folder_bytes(folder) - before) / 1e6
    return Measured(units, wall, sum(seconds.values()), total, dict(largest), written)


def _sample(root: psutil.Process, seconds: dict[psutil.Process, float], peaks: dict[str, float]) -> float:
    """Note the CPU time and memory of a process and its descendants; return the memory of all, in MiB."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times, memory = process.cpu_times(), process.memory_info()
                seconds[process] = times.user + times.system
                own = max(0, memory.rss - memory.shared) / 2**20
                name = _name(process, root)
                peaks[name] = max(peaks[name], own)
                total += own
    return total


def _name(process: psutil.Process, root: psutil.Process) -> str:
    """The role of a process: "job", a Ray worker by its title, else the program."""
    if process == root:
        return "job"
    words = process.cmdline()
    if not words:
        return process.name()
    if words[0].startswith("ray::"):
        return words[0].partition("(")[0]
    scripts = [Path(word).name for word in words[1:] if word.endswith(".py")]
    return scripts[0] if scripts else Path(words[0]).name


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
