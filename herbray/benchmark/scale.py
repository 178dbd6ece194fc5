"""How time and memory grow: each job at n, 10 n and 100 n rows, in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from herbray.benchmark import sizes
from herbray.benchmark.race import Case, Contender, Measured
from herbray.benchmark.spec import BenchmarkSpec, Flat, Growth, Promise
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.folder import Folder


class Scale(BenchmarkSpec):
    """Jobs that see labels alone start at `rows`, embedding at `embedded`, sharding, of image files, at `images`."""

    name: Literal["scale"] = "scale"
    rows: int = Field(4000, ge=200, description="smallest size; the others are ten and a hundred times as large")
    embedded: int = Field(32, ge=0, multiple_of=32, description="smallest size of the embed job; 0 leaves it out")
    images: int = Field(0, ge=0, description="smallest size of the shard job; 0 leaves it out, 200 adds minutes")
    exponent: float = Field(1.05, gt=0, description="most that is promised of each")
    timeout: float = Field(600, gt=0, description="seconds for one job at one size")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case a job; the inputs of a size are made when its first job asks for them."""
        for rows in self._sizes(self.rows):
            _prepare(work / str(rows), rows, self.seed)
        for name in ("catalogue", "plan", "epoch", "knn"):
            yield self._case(name, self.rows, work)
        if self.embedded:
            yield self._case("embed", self.embedded, work / "embed")
        if self.images:
            for rows in self._sizes(self.images):
                _prepare(work / str(rows), rows, self.seed)
                sizes.write_pictures(work / str(rows), 48, self.seed)
            yield self._case("shard", self.images, work)

    def targets(self) -> Sequence[Promise]:
        """All jobs grow as their input does or less; sharding streams, so that its memory does not grow."""
        jobs = ["catalogue", "plan", "epoch", "knn"] + ["embed"] * bool(self.embedded) + ["shard"] * bool(self.images)
        flat = [Flat(_TITLES["shard"], 1.5)] if self.images else []
        return [*(Growth(_TITLES[name], self.exponent) for name in jobs), *flat]

    def _sizes(self, least: int) -> tuple[int, int, int]:
        return least, 10 * least, 100 * least

    def _case(self, name: str, least: int, work: Path) -> Case:
        contenders = [
            Contender(f"herbray: {rows:,}", _child(name, rows, work / str(rows), self.timeout))
            for rows in self._sizes(least)
        ]
        return Case(_TITLES[name], "rows", contenders)


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
    """Run the job in a fresh process and take its own word for time and memory."""

    def run() -> Measured:
        shutil.rmtree(folder / "shards", ignore_errors=True)  # finished shards would be kept, not made
        command = [sys.executable, "-m", sizes.__name__, name, str(rows), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=dict(os.environ))  # noqa: S603  (our own module)
        if done.returncode:
            raise RuntimeError(f"{name} at {rows:,} rows failed:\n{done.stderr[-2000:]}")
        return Measured(units=rows, **json.loads(done.stdout.splitlines()[-1]))

    return run
