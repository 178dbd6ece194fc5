"""The scale benchmark: how time and memory grow when a job runs at n, 10 n and 100 n rows, in separate processes."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from herbray.benchmark.contests import sizes
from herbray.benchmark.harness.race import Case, Contender, Measured
from herbray.benchmark.harness.spec import BenchmarkSpec, Flat, Growth, Promise
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.folder import Folder


class Scale(BenchmarkSpec):
    """Jobs that read only labels start at `rows`, tasks at `evaluated`, embedding at `embedded`, sharding at `images`.

    Each job runs at three sizes, each ten times the one before; sharding, which starts a cluster each time, at two.
    """

    name: Literal["scale"] = "scale"
    rows: int = Field(4000, ge=200, description="smallest size; the others are ten and a hundred times as large")
    embedded: int = Field(32, ge=0, multiple_of=32, description="smallest size of the embed job; 0 leaves it out")
    images: int = Field(400, ge=0, description="smaller size of the shard job; 0 leaves it out and saves two minutes")
    evaluated: int = Field(1000, ge=0, description="smallest size of the tasks on embeddings; 0 leaves them out")
    exponent: float = Field(1.05, gt=0, description="highest growth exponent that is promised, for each job")
    timeout: float = Field(600, gt=0, description="time limit of one job at one size, in seconds")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case per job; the inputs are written first."""
        for rows in _sizes(self.rows, 3):
            _prepare(work / str(rows), rows, self.seed)
        for name in ("catalogue", "plan", "epoch", "knn"):
            yield self._case(name, _sizes(self.rows, 3), work)
        if self.evaluated:
            yield self._case("evaluate", _sizes(self.evaluated, 3), work)
        if self.embedded:
            yield self._case("embed", _sizes(self.embedded, 3), work / "embed")
        if self.images:
            few = work / "pictures"
            for rows in _sizes(self.images, 2):
                _prepare(few / str(rows), rows, self.seed)
                sizes.write_pictures(few / str(rows), 48, self.seed)
            yield self._case("shard", _sizes(self.images, 2), few)

    def targets(self) -> Sequence[Promise]:
        """The time of every job grows no faster than its input; sharding streams, so its memory does not grow."""
        jobs = (
            ["catalogue", "plan", "epoch", "knn"]
            + ["evaluate"] * bool(self.evaluated)
            + ["embed"] * bool(self.embedded)
            + ["shard"] * bool(self.images)
        )
        flat = [Flat(_TITLES["shard"], 1.5)] if self.images else []
        return [*(Growth(_TITLES[name], self.exponent) for name in jobs), *flat]

    def _case(self, name: str, rows: Sequence[int], work: Path) -> Case:
        contenders = [
            Contender(f"herbray: {count:,}", _in_process(name, count, work / str(count), self.timeout))
            for count in rows
        ]
        return Case(_TITLES[name], "rows", contenders)


def _sizes(least: int, count: int) -> list[int]:
    return [least * 10**power for power in range(count)]


_TITLES = {
    "catalogue": "catalogue from a table of labels",
    "plan": "splits and shard plan",
    "epoch": "epoch plan and the order of every batch",
    "knn": "500 queries, 512 numbers a row",
    "evaluate": "tasks on embeddings of 64 numbers",
    "embed": "embeddings of 32 px, one process",
    "shard": "shards of 40 px",
}


def _prepare(folder: Path, rows: int, seed: int) -> None:
    if not folder.exists():
        sizes.write_labels(folder, rows, seed)
        catalogue.build(Catalogue(source=Folder(path=folder), out=folder / "catalogue"))


def _in_process(name: str, rows: int, folder: Path, timeout: float) -> Callable[[], Measured]:
    """Run the job in a new process, which measures its own time; its memory is sampled from this process."""

    def run() -> Measured:
        shutil.rmtree(folder / "shards", ignore_errors=True)  # the job would keep finished shards
        command = [sys.executable, "-m", sizes.__name__, name, str(rows), str(folder)]
        with tempfile.TemporaryFile("w+") as errors:
            job = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=errors, text=True, bufsize=1)  # noqa: S603  (our own module)
            peak, figures, peak_mib = None, "", 0.0
            with suppress(BrokenPipeError), job, _time_limit(job, timeout):  # the process may have died
                peak = sizes.PeakMemory(job.pid) if _read_line(job) == sizes.READY else None
                _send_line(job)
                figures, peak_mib = _read_line(job), 0.0 if peak is None else peak.mib()
                _send_line(job)
            if job.returncode or peak is None:
                errors.seek(0)
                raise RuntimeError(
                    f"{name} at {rows:,} rows failed or took more than {timeout:g} s:\n{errors.read()[-2000:]}"
                )
        return Measured(units=rows, peak_mib=peak_mib, **json.loads(figures))

    return run


@contextmanager
def _time_limit(job: "subprocess.Popen[str]", timeout: float) -> Iterator[None]:
    """Kill the job's process after the time limit."""
    timer = threading.Timer(timeout, job.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_line(job: "subprocess.Popen[str]") -> str:
    """The next line of our protocol, skipping lines that Ray prints; "" if the process has ended."""
    for line in job.stdout or ():
        if line.startswith((sizes.READY, "{")):
            return line.strip()
    return ""


def _send_line(job: "subprocess.Popen[str]") -> None:
    with suppress(BrokenPipeError):  # the process has ended: the return code shows whether it failed
        print(file=job.stdin, flush=True)
