"""The jobs of the scale benchmark. Each runs at one size in a separate process, whose peak memory is measured."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv

from herbray import schema
from herbray.benchmark.harness.race import cpu_seconds
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.planning import plan
from herbray.data.planning.shard_plan import plan_shards
from herbray.data.planning.window import order_rows
from herbray.data.sources.folder import Folder
from herbray.data.splitting.splits import Splits, split

if TYPE_CHECKING:
    from herbray.tasks import Embeddings

Job = Callable[[], object]

READY: Final = "ready"
"""The line that a job's process prints when its input is prepared; it starts the job when it receives a line."""

_BAG: Final = 32
_QUERIES: Final = 500
_DIM: Final = 512  # as long as the default encoder's
_PIXELS: Final = 32
_PICTURES: Final = 64  # distinct images on disk, used by the rows in turn


def write_labels(folder: Path, rows: int, seed: int) -> None:
    """Write `labels.csv` of a flora that grows with the collection: 20 sheets per species, 10 species per genus."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, max(40, rows // 20), rows)
    numbers = {
        "image": [f"sheet-{row % _PICTURES}.jpg" for row in range(rows)],
        "specimen_id": [f"K{row:09d}" for row in range(rows)],
        "species": [f"Planta{letters(name // 10)} epithet{letters(name)}" for name in species.tolist()],
        "genus": [f"Planta{letters(name // 10)}" for name in species.tolist()],
        "family": [f"Family{letters(name // 200)}" for name in species.tolist()],
        "institution": [f"H{code}" for code in np.minimum(rng.geometric(0.6, rows), 8).tolist()],
        "gathering": [f"Collector {number}" for number in rng.integers(0, max(1, rows * 3 // 4), rows).tolist()],
    }
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(pa.table(numbers), folder / "labels.csv")


def write_pictures(folder: Path, side: int, seed: int) -> None:
    """Write the images that `labels.csv` names."""
    import simplejpeg

    rng = np.random.default_rng(seed)
    for number in range(_PICTURES):
        smooth = np.repeat(np.repeat(rng.integers(0, 255, (side // 8 + 1, side // 8 + 1, 3), np.uint8), 8, 0), 8, 1)
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(smooth[:side, :side]), quality=90)
        (folder / f"sheet-{number}.jpg").write_bytes(data)


def letters(number: int) -> str:
    """A number written in lower-case letters, for use in a name."""
    text = ""
    while number or not text:
        number, digit = divmod(number, 26)
        text = chr(97 + digit) + text
    return text


def _catalogue(rows: int, folder: Path) -> Job:
    del rows
    spec = Catalogue(source=Folder(path=folder), out=folder / "catalogue")
    return lambda: catalogue.build(spec)


def _plan(rows: int, folder: Path) -> Job:
    del rows
    table = catalogue.read(folder / "catalogue")

    def job() -> object:
        return plan_shards(table["specimen_id"].to_pylist(), table["genus"], split(table, Splits(), 89), _BAG, 2048, 89)

    return job


def _epoch(rows: int, folder: Path) -> Job:
    del folder
    bags = max(1, rows // _BAG)
    columns = {
        "split": ["train"] * bags,
        "file": [f"split=train/part-{bag // 64:05d}.parquet" for bag in range(bags)],
        "row_group": [bag % 64 for bag in range(bags)],
        "label": [f"Planta{letters(bag // 6)}" for bag in range(bags)],
        "rows": [_BAG] * bags,
    }
    index = pa.table(columns, schema=schema.INDEX)

    def job() -> object:
        windows = plan.plan_epoch(index, plan.list_classes(index), plan.Stream(), 4, 89, 0)
        return sum(order_rows(window).row.size for window in windows)

    return job


def _knn(rows: int, folder: Path) -> Job:
    from herbray.neighbours.search import find_nearest

    del folder
    points = np.random.default_rng(89).standard_normal((rows, _DIM), np.float32)
    return lambda: list(find_nearest(points, np.arange(rows), 10, np.arange(min(rows, _QUERIES)), device="cpu"))


def _evaluate(rows: int, folder: Path) -> Job:
    """Tasks on embeddings of 64 random numbers; few iterations of the probes need as much memory as many."""
    from herbray.tasks.discriminate import Discriminate
    from herbray.tasks.identify import Identify
    from herbray.tasks.silhouette import Silhouette

    del folder
    embeddings = draw_embeddings(rows, 64)
    tasks = (
        Identify(splits=("random",), ranks=("family",), max_iter=5),
        Discriminate(splits=("random",), max_iter=5),
        Silhouette(splits=("random",), ranks=("family",), most=200),
    )
    return lambda: [task.measure(embeddings, "random", 89) for task in tasks]


def draw_embeddings(rows: int, dim: int) -> "Embeddings":
    """Random embeddings of specimens of ten families of ten genera each, in three orders."""
    from herbray.tasks import Embeddings

    rng = np.random.default_rng(89)
    genus = rng.integers(0, 100, rows)
    names = np.array([f"Planta{letters(number)}" for number in range(100)], dtype=object)
    columns = {name: pa.nulls(rows, pa.string()) for name in (*schema.SPECIMEN.names, "split")}
    columns |= {
        "specimen_id": pa.array([f"K{row:09d}" for row in range(rows)]),
        "genus": pa.array(names[genus]),
        "family": pa.array(names[genus % 10]),
        "order": pa.array(names[genus % 3]),
        "split": pa.array(np.full(rows, "random", dtype=object)),
    }
    centres = rng.standard_normal((100, dim), np.float32) / 4
    flat = pa.array((centres[genus] + rng.standard_normal((rows, dim), np.float32)).reshape(-1))
    files = iter([pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, dim)])])
    return Embeddings.from_files(pa.table(columns), dim, files)


def _embed(rows: int, folder: Path) -> Job:
    from herbray.benchmark.contests.embed import draw_encoder
    from herbray.benchmark.contests.shards import write_shards
    from herbray.flow.embedding.embedder import Embedder

    shards = folder / "gallery" / "split=train" / "part-00000.parquet"
    if not shards.exists():
        draw_encoder(folder / "encoder", _PIXELS, 89)
        write_shards(folder / "gallery", rows, _PIXELS, 89)
    worker = Embedder(folder / "encoder", _PIXELS)
    return lambda: worker.embed_file(shards, "train", folder / "embeddings.parquet")


def _shard(rows: int, folder: Path) -> Job:
    from herbray.flow.shards.build import Shard, shard

    del rows
    spec = Shard(catalogue=folder / "catalogue", out=folder / "shards", side=40, file_rows=32)
    return lambda: shard(spec)


JOBS: Final[dict[str, Callable[[int, Path], Job]]] = {
    "catalogue": _catalogue,
    "plan": _plan,
    "epoch": _epoch,
    "knn": _knn,
    "evaluate": _evaluate,
    "embed": _embed,
    "shard": _shard,
}
"""Name of a job → a function of (rows, folder) that prepares the input and returns the job to measure."""


@contextmanager
def _cluster_for(name: str) -> Iterator[None]:
    """Start a cluster if the job needs one, so that the start is not measured."""
    if name != "shard":
        yield
        return
    from herbray.flow.cluster import connection

    with connection.connect():
        yield


class PeakMemory:
    """Peak memory of a process and its descendants, above the memory at the start; sampled twenty times per second.

    A sample takes about 6 ms, more than a tenth of the interval. It is taken from another process, so neither the wall
    time nor the CPU time of the job includes it.
    """

    def __init__(self, pid: int) -> None:
        """Start to sample the process with this id."""
        self.process = psutil.Process(pid)
        self.first = self.most = self._unique_bytes()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.done.wait(0.05):
            self.most = max(self.most, self._unique_bytes())

    def mib(self) -> float:
        """Stop sampling and return the peak in MiB."""
        self.done.set()
        self.thread.join()
        return (max(self.most, self._unique_bytes()) - self.first) / 2**20

    def _unique_bytes(self) -> int:
        """Bytes that would be freed if these processes ended, without memory that they share; see psutil's `uss`."""
        total = 0
        with suppress(psutil.NoSuchProcess):
            for process in (self.process, *self.process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    total += process.memory_full_info().uss
        return total


def measure(name: str, rows: int, folder: Path, watched: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Run one job at one size in this process and measure its wall time and CPU time in seconds.

    Args:
        name: name of the job.
        rows: size of the job.
        folder: folder of the input.
        watched: called between the preparation and the job; returns when the memory of this process is being sampled.
    """
    with _cluster_for(name):
        job = JOBS[name](rows, folder)
        watched()
        cpu, start = cpu_seconds(), time.perf_counter()
        job()
        return {"wall_s": time.perf_counter() - start, "cpu_s": cpu_seconds() - cpu}


def _wait_for_start() -> None:
    """Print that the input is ready, and wait for the signal to start."""
    print(READY, flush=True)
    sys.stdin.readline()


def _print_figures(found: dict[str, float]) -> None:
    """Print the figures, and wait until the memory of this process has been sampled for the last time."""
    print(json.dumps(found), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    _print_figures(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), _wait_for_start))
