"""How time and memory grow: each job at n, 10 n and 100 n rows, in a process of its own."""

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
    """Jobs that see labels alone start at `rows`, embedding at `embedded`, sharding, of image files, at `images`.

    Each runs at three sizes, a factor of ten between them; sharding, which starts a cluster each time, at two.
    """

    name: Literal["scale"] = "scale"
    rows: int = Field(4000, ge=200, description="smallest size; the others are ten and a hundred times as large")
    embedded: int = Field(32, ge=0, multiple_of=32, description="smallest size of the embed job; 0 leaves it out")
    images: int = Field(400, ge=0, description="smaller size of the shard job; 0 leaves it out and saves two minutes")
    exponent: float = Field(1.05, gt=0, description="most that is promised of each")
    timeout: float = Field(600, gt=0, description="seconds for one job at one size")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case a job; the inputs of a size are made when its first job asks for them."""
        for rows in _sizes(self.rows, 3):
            _prepare(work / str(rows), rows, self.seed)
        for name in ("catalogue", "plan", "epoch", "knn"):
            yield self._case(name, _sizes(self.rows, 3), work)
        if self.embedded:
            yield self._case("embed", _sizes(self.embedded, 3), work / "embed")
        if self.images:
            few = work / "pictures"
            for rows in _sizes(self.images, 2):
                _prepare(few / str(rows), rows, self.seed)
                sizes.write_pictures(few / str(rows), 48, self.seed)
            yield self._case("shard", _sizes(self.images, 2), few)

    def targets(self) -> Sequence[Promise]:
        """All jobs grow as their input does or less; sharding streams, so that its memory does not grow."""
        jobs = ["catalogue", "plan", "epoch", "knn"] + ["embed"] * bool(self.embedded) + ["shard"] * bool(self.images)
        flat = [Flat(_TITLES["shard"], 1.5)] if self.images else []
        return [*(Growth(_TITLES[name], self.exponent) for name in jobs), *flat]

    def _case(self, name: str, rows: Sequence[int], work: Path) -> Case:
        contenders = [
            Contender(f"herbray: {count:,}", _child(name, count, work / str(count), self.timeout)) for count in rows
        ]
        return Case(_TITLES[name], "rows", contenders)


def _sizes(least: int, count: int) -> list[int]:
    return [least * 10**power for power in range(count)]


_TITLES = {
    "catalogue": "catalogue from a table of labels",
    "plan": "splits and shard plan",
    "epoch": "epoch plan and the order of every batch",
    "knn": "500 queries, 512 numbers a row",
    "embed": "embeddings of 32 px, one process",
    "shard": "shards of 40 px",
}


def _prepare(folder: Path, rows: int, seed: int) -> None:
    if not folder.exists():
        sizes.write_labels(folder, rows, seed)
        catalogue.build(Catalogue(source=Folder(path=folder), out=folder / "catalogue"))


def _child(name: str, rows: int, folder: Path, timeout: float) -> Callable[[], Measured]:
    """Run the job in a fresh process, take its own word for time, and look at its memory from here."""

    def run() -> Measured:
        shutil.rmtree(folder / "shards", ignore_errors=True)  # finished shards would be kept, not made
        command = [sys.executable, "-m", sizes.__name__, name, str(rows), str(folder)]
        with tempfile.TemporaryFile("w+") as complaints:
            job = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=complaints, text=True, bufsize=1)  # noqa: S603  (our own module)
            peak, told, held = None, "", 0.0
            with suppress(BrokenPipeError), job, _killed(job, timeout):  # one that has died takes no word
                peak = sizes.Peak(job.pid) if _said(job) == sizes.READY else None
                _go_on(job)
                told, held = _said(job), 0.0 if peak is None else peak.mib()
                _go_on(job)
            if job.returncode or peak is None:
                complaints.seek(0)
                raise RuntimeError(
                    f"{name} at {rows:,} rows failed or took more than {timeout:g} s:\n{complaints.read()[-2000:]}"
                )
        return Measured(units=rows, peak_mib=held, **json.loads(told))

    return run


@contextmanager
def _killed(job: "subprocess.Popen[str]", timeout: float) -> Iterator[None]:
    """End the job's process when its time is over."""
    timer = threading.Timer(timeout, job.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _said(job: "subprocess.Popen[str]") -> str:
    """The next line that is for us: Ray prints some too. Nothing where the process has ended."""
    for line in job.stdout or ():
        if line.startswith((sizes.READY, "{")):
            return line.strip()
    return ""


def _go_on(job: "subprocess.Popen[str]") -> None:
    with suppress(BrokenPipeError):  # it has ended: its return code will tell
        print(file=job.stdin, flush=True)
