"""A short calibration: the rates of this machine, each measured on all its cores, for the settings of the plan."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from rich.console import Console
from threadpoolctl import threadpool_limits

from herbray import schema, tables
from herbray.benchmark.contests import sizes
from herbray.benchmark.contests.embed import EmbedRate
from herbray.benchmark.contests.ingest.data import draw_sheets
from herbray.benchmark.contests.ingest.peers import Workers
from herbray.benchmark.contests.network_size import measure_network
from herbray.benchmark.contests.probe import draw_embeddings
from herbray.benchmark.contests.step import Step
from herbray.benchmark.harness.race import cpu_seconds, race
from herbray.benchmark.harness.record import describe_machine, make_record
from herbray.benchmark.harness.spec import BenchmarkSpec
from herbray.config import parse
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.imaging import images
from herbray.data.labels import read_labels
from herbray.data.planning.shard_plan import plan_shards
from herbray.data.sources.folder import Folder
from herbray.data.splitting.splits import Splits, split
from herbray.flow.shards.build import read_located_catalogue
from herbray.flow.shards.write_file import write_shard_file
from herbray.sizing.counts import sample_files
from herbray.sizing.rates import Rate
from herbray.sizing.records import rates_of_record
from herbray.sizing.specification import Plan
from herbray.tasks.identify import Identify
from herbray.tasks.methods.probe import fit_probes_of

_SOURCE: Final = "herbray plan --measure"
_ROWS: Final = 20_000  # labels
_SHEETS: Final = 48  # for each core
_DRAWN: Final = 12  # distinct sheets, if there is no catalogue
_LEAST_S: Final = 0.5
_ROUNDS: Final = 3
_PROBED: Final = (2000, 40)  # rows and classes


@dataclass(frozen=True)
class Spent:
    """What some work took.

    Attributes:
        wall_s: seconds of wall time.
        cpu_s: seconds of CPU time of this process and its descendants.
    """

    wall_s: float
    cpu_s: float


def _labels(spec: Plan, work: Path) -> Iterator[Rate]:
    """Labels to a catalogue, and a catalogue to splits and a shard plan."""
    sizes.write_labels(work, _ROWS, spec.seed)
    job = Catalogue(source=Folder(path=work), out=work / "catalogue")
    yield rate_of("catalogue", _ROWS, _time(lambda: catalogue.build(job)))
    table = catalogue.read(job.out)

    def plan() -> None:
        assigned = split(table, Splits(), spec.seed)
        plan_shards(table["specimen_id"].to_pylist(), read_labels(table, "genus"), assigned, 32, 2048, spec.seed)

    yield rate_of("split", _ROWS, _time(plan))


def _sheets(spec: Plan, work: Path) -> Iterator[Rate]:
    """Sheets to shards, and the images of these shards to pixels."""
    cores, side = _cores(), spec.shard.side
    parts = [part for part in _parts(_sample_sheets(spec, work), cores) if part.num_rows]
    count, pool, out = sum(map(len, parts)), Workers(cores), work / "shards"

    def write() -> None:
        shutil.rmtree(out, ignore_errors=True)
        tasks = [
            (str(out), f"split=train/part-{n}.parquet", part, [("Planta", len(part))], spec.shard.shrink, str(work))
            for n, part in enumerate(parts)
        ]
        pool.map(write_shard_file, tasks)

    try:
        write()  # the processes start
        spent = _time(write)
    finally:
        pool.close()
    jpegs = [jpeg for file in sorted(out.rglob("*.parquet")) for jpeg in tables.read(file, "")["jpeg"].to_pylist()]
    if not jpegs:
        raise ValueError("every sheet of the sample was refused: run `herbray shard` and read its quarantine.parquet")
    sample = sample_files([Path(image) for part in parts for image in part["image"].to_pylist()])
    size = round(sum(map(len, jpegs)) / len(jpegs))
    yield rate_of("shard", count, spent, cores=cores, px=side, sheet_px=sample.pixels, bytes=size)
    yield rate_of("decode", *_decode(jpegs, side, cores), cores=cores, px=side, aspect=sample.aspect)


def _decode(jpegs: Sequence[bytes], side: int, threads: int) -> tuple[int, Spent]:
    """Number of images that threads decode, and what that takes."""
    batches = [jpegs[i : i + 16] for i in range(0, len(jpegs), 16)]
    done = 0

    def decode() -> None:
        nonlocal done
        end = time.perf_counter() + _LEAST_S
        while time.perf_counter() < end:
            done += sum(map(len, pool.map(lambda batch: images.decode_squares(batch, side), batches * threads)))

    with ThreadPoolExecutor(threads) as pool:
        spent = _time(decode)
    return done, spent


def _sample_sheets(spec: Plan, work: Path) -> pa.Table:
    """Rows of the catalogue, drawn at random; without one, rows of drawn sheets."""
    if spec.collection.catalogue is None:
        return _draw_rows(spec, work)
    table = read_located_catalogue(spec.shard.model_copy(update={"catalogue": spec.collection.catalogue}))
    chosen = np.random.default_rng(spec.seed).permutation(len(table))[: _SHEETS * _cores()]
    return table.take(pa.array(np.sort(chosen)))


def _draw_rows(spec: Plan, work: Path) -> pa.Table:
    width, height = spec.collection.sheet_px
    paths = []
    for number, data in enumerate(draw_sheets(work / "drawn", width, height, _DRAWN, 3.0, spec.seed)):
        paths.append(str(work / f"{number}.jpg"))
        Path(paths[-1]).write_bytes(data)
    used = [paths[row % _DRAWN] for row in range(_SHEETS * _cores())]
    values: dict[str, list[Any]] = {each.name: [None if each.nullable else ""] * len(used) for each in schema.CATALOGUE}
    values |= {"image": used, "specimen_id": [str(row) for row in range(len(used))], "genus": ["Planta"] * len(used)}
    return pa.Table.from_pydict(values, schema=schema.CATALOGUE)


def _parts(table: pa.Table, count: int) -> list[pa.Table]:
    return [table.take(pa.array(range(part, len(table), count), pa.int64())) for part in range(count)]


def _step(spec: Plan, work: Path) -> list[Rate]:
    """The training step, on pixels that are ready and from shards."""
    train = spec.train
    tree = {"objectives": [train.objective.name], "arch": train.encoder.arch, "size": train.encoder.size}
    batch = min(train.stream.batch, _most_images() // 4)
    more = {"batch": batch, "steps": _most_images() // batch, "rounds": _ROUNDS, "seed": spec.seed}
    return _race(parse(Step, tree | more), work)


def _forward(spec: Plan, work: Path) -> list[Rate]:
    """The forward pass, on pixels that are ready and from shards."""
    encoder = spec.train.encoder
    tree = {"sizes": [encoder.size], "arch": encoder.arch, "images": _most_images(), "threads": _cores()}
    return _race(parse(EmbedRate, tree | {"rounds": _ROUNDS, "seed": spec.seed}), work)


def _most_images() -> int:
    """Images of a lap: a CPU takes as long for a few as a GPU for many, and its rate depends little on the batch."""
    return 128 if describe_machine().gpu is None else 2048


def _race(contest: BenchmarkSpec, work: Path) -> list[Rate]:
    """The rates of a benchmark's first two contenders, which are ours: peers are left out."""
    cases = [replace(case, contenders=case.contenders[:2], check=None) for case in contest.cases(work)]
    laps = [lap for case in cases for lap in race(case, _ROUNDS)]
    cores = _cores()
    wall, cpu = sum(lap.wall_s for lap in laps), sum(lap.cpu_s or 0.0 for lap in laps)
    known = {"source": _SOURCE, "share": round(min(1.0, max(0.01, cpu / (wall * cores))), 4)}
    found = rates_of_record(make_record(contest, cases, laps))
    return [rate.model_copy(update=known if rate.device == "cpu" else {"source": _SOURCE}) for rate in found]


def _probe(spec: Plan, work: Path) -> Iterator[Rate]:
    """The probes of all folds on drawn embeddings, on one core."""
    del work
    rows, classes = _PROBED
    dim, task = measure_network(spec.train, 2).dim, Identify()
    features, labels = draw_embeddings(rows, dim, classes, spec.seed)
    folds = [np.flatnonzero(np.arange(rows) % task.folds != fold) for fold in range(task.folds)]
    with threadpool_limits(1):
        spent = _time(lambda: list(fit_probes_of(features, labels, folds, task)))
    yield rate_of("probe", rows * dim * classes * task.folds, spent)


MEASURES: Final[dict[str, Callable[[Plan, Path], Any]]] = {
    "labels": _labels,
    "sheets": _sheets,
    "steps": _step,
    "embedding": _forward,
    "probes": _probe,
}
"""What is measured → its function."""

_ON_DEVICE: Final = frozenset(("steps", "embedding"))
"""What a plan for GPUs reads off a GPU alone."""


def measure_rates(spec: Plan, names: Sequence[str] = tuple(MEASURES)) -> list[Rate]:
    """Measure what the plan needs, and print what is being measured: for GPUs within a minute, for CPUs within minutes.

    If the plan has a catalogue, its own sheets are read, else drawn ones. Without a GPU here, steps and embedding of a
    plan for GPUs are left out: the plan would not use them.

    Args:
        spec: the plan.
        names: keys of `MEASURES`.

    Raises:
        ValueError: the catalogue cannot be read.
    """
    console = Console(stderr=True)
    found: list[Rate] = []
    with tempfile.TemporaryDirectory(prefix="herbray-plan-") as folder:
        work = Path(folder)
        for name in names:
            if name in _ON_DEVICE and spec.cluster.gpus and describe_machine().gpu is None:
                console.print(f"plan: {name}: not measured, no GPU here", markup=False)
                continue
            console.print(f"plan: measuring {name} …", markup=False)
            (work / name).mkdir()
            found += MEASURES[name](spec, work / name)
    return found


def _cores() -> int:
    return os.cpu_count() or 1


def _time(work: Callable[[], object]) -> Spent:
    """What some work takes."""
    start, before = time.perf_counter(), cpu_seconds()
    work()
    return Spent(time.perf_counter() - start, cpu_seconds() - before)


def rate_of(work: Any, units: float, spent: Spent, **facts: Any) -> Rate:  # noqa: ANN401  (fields of a rate)
    """A rate that was measured on this machine just now; the work used all cores that `facts` give, or one."""
    share = min(1.0, max(0.01, spent.cpu_s / (spent.wall_s * facts.get("cores", 1))))
    about = {"machine": describe_machine().cpu, "when": datetime.now(UTC).date().isoformat(), "source": _SOURCE}
    load = round(os.getloadavg()[0] / _cores(), 2)
    return Rate(work=work, per_s=units / spent.wall_s, share=round(share, 4), load=load, **about, **facts)
