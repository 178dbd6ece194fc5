"""The cases of the input benchmark: shards to shuffled uint8 batches in the trainer, against common data loaders."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import joblib
import numpy as np
import torch
from pydantic import Field

from herbray.benchmark.contests.input import peers
from herbray.benchmark.contests.input.data import draw_pictures, write_files, write_shards
from herbray.benchmark.harness.figures import spread
from herbray.benchmark.harness.race import Case, Contender, Lap, Measured, cpu_seconds
from herbray.benchmark.harness.spec import BenchmarkSpec, Limit, Promise, Target, Verdict
from herbray.data.planning import plan
from herbray.data.planning.window import Window
from herbray.flow.input.batches import LoaderSpec, drafts_from_jpegs, sequential_batches
from herbray.flow.input.loader import load_batches
from herbray.flow.input.window_reader import Batch, WindowReader, byte_views, paint_jpegs
from herbray.flow.shards.manifest import read_index, read_manifest
from herbray.model.augment import Augment, augment

BATCHES: Final = "shuffled batches"
AUGMENTED: Final = "augmented batches"
FLOOR: Final = "engine without decoding"
FIRST: Final = "first batch"
GAP: Final = "time lost between epochs"
RAY, HERE, CACHE, TASKS = "herbray", "herbray: in process", "herbray: decoded cache", "herbray: decoded in tasks"
BORDERS: Final = 3
_CPUS: Final = 0.25  # what a task that reads windows reserves in training

Windows = Sequence[Window]
Way = Callable[[Windows], Iterable[Batch]]


@dataclass(frozen=True)
class Gap:
    """A bound on the time lost at a border between epochs, as a share of an epoch."""

    contender: str
    rows: int
    borders: int
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Compute from the seconds lost at all borders of a lap and the rate of the main case."""
        promise = f"{self.contender}: between epochs ≤ {self.at_most:.0%} of an epoch"
        lost, rate = spread(laps, GAP, self.contender, "wall"), spread(laps, BATCHES, self.contender, "rate")
        if lost is None or rate is None:
            return Verdict(GAP, promise, "not measured", None)
        share = lost.median / self.borders * rate.median / self.rows
        return Verdict(GAP, promise, f"{share:.2%} ({1000 * lost.median / self.borders:.1f} ms)", share <= self.at_most)


class Input(BenchmarkSpec):
    """A lap of the main case is `epochs` epochs of `rows` images; every loader shuffles and yields whole batches."""

    name: Literal["input"] = "input"
    sheets: int = Field(192, ge=1, description="sheets to draw; each is several times in the shards, under other ids")
    rows: int = Field(2048, ge=256, description="images per epoch")
    epochs: int = Field(2, ge=1, description="epochs per lap")
    side: int = Field(256, ge=32, description="pixels")
    batch: int = Field(128, ge=1, description="images in a batch")
    threads: int | None = Field(
        None, ge=1, description="our threads, and worker processes of the peers; None: one per core"
    )

    def cases(self, work: Path) -> Iterator[Case]:
        """Batches, augmented batches, the engine without decoding, the first batch, and the border between epochs."""
        from herbray.flow.cluster import connection

        pictures = draw_pictures(work / "sheets", self.sheets, self.side, self.seed)
        write_shards(work / "shards", pictures, self.rows, self.side)
        files = write_files(work / "files", pictures, self.rows)
        jpegs = [pictures[row % len(pictures)].jpeg for row in range(self.rows)]
        workers = self.threads or joblib.cpu_count()
        other = peers.Work(work, files, jpegs, self.batch, self.side, workers, self.epochs, self.seed)
        root = work / "shards"
        with connection.connect():
            ways = self._ways(root, workers)
            yield self._batches(other, root, ways)
            yield self._augmented(other, root, ways[RAY])
            yield self._floor(root)
            yield self._first(other, root, ways)
            yield self._gap(root, ways[RAY])

    def targets(self) -> Sequence[Promise]:
        """Ratios of CPU time to the best JPEG peer and to the usual idiom; bounds on floor, first batch and gap."""
        return [
            Target(BATCHES, RAY, peers.PARQUET, "cpu_ms", 1.0),
            Target(BATCHES, RAY, peers.USUAL, "cpu_ms", 4.0),
            Target(BATCHES, CACHE, RAY, "cpu_ms", 2.0),
            Target(AUGMENTED, RAY, peers.PARQUET_AUGMENTED, "cpu_ms", 1.0),
            Limit(FLOOR, RAY, "cpu_ms", 0.15),
            Limit(FIRST, RAY, "wall", 1.0),
            Gap(RAY, self.rows, BORDERS, 0.01),
        ]

    def _windows(self, root: Path, epochs: int) -> list[Window]:
        index = read_index(root)
        spec = plan.Stream(batch=self.batch, window=48, align=1)
        return [
            w for e in range(epochs) for w in plan.plan_epoch(index, plan.list_classes(index), spec, 4, self.seed, e)
        ]

    def _ways(self, root: Path, workers: int) -> dict[str, Way]:
        """Our contenders, each a function from windows to batches."""
        reader = WindowReader(root, self.side)
        mark = read_manifest(root)["fingerprint"]

        def way(cpus: float | None, **loader: Any) -> Way:  # noqa: ANN401
            return lambda windows: load_batches(windows, reader, LoaderSpec(threads=workers, **loader), mark, cpus)

        return {
            RAY: way(_CPUS),
            TASKS: way(1.0, decode="tasks"),
            HERE: way(None),
            CACHE: way(None, cache=root.parent / "pixels"),
        }

    def _batches(self, other: peers.Work, root: Path, ways: dict[str, Way]) -> Case:
        windows = self._windows(root, self.epochs)
        ours = [Contender(name, functools.partial(_count_images, way, windows)) for name, way in ways.items()]
        reader, few = WindowReader(root, self.side), windows[:1]
        theirs = peers.peers(other, reader, self._windows(root, 1))
        return Case(BATCHES, "images", [*ours, *theirs], functools.partial(_check_equal, ways, reader, few))

    def _augmented(self, other: peers.Work, root: Path, way: Way) -> Case:
        """One epoch with augmentation. Ours and Parquet's augment whole batches in the trainer, as in training.

        The usual idiom crops and flips one image at a time; ours also rotates, zooms, warps and changes the light.
        """
        windows, reader = self._windows(root, 1), WindowReader(root, self.side)

        def changed(images: torch.Tensor) -> torch.Tensor:
            return augment(images, self.seed, self.side, Augment())

        def ours() -> int:
            return sum(len(changed(torch.from_numpy(batch.images))) for batch in way(windows))

        once = replace(other, epochs=1)
        few = replace(once, files=other.files[: len(other.files) // 4])
        theirs = [
            peers.row_groups(once, reader, windows, peers.PARQUET_AUGMENTED, changed),
            peers.usual(few, f"{peers.USUAL}, augmented", augmented=True),
        ]
        return Case(AUGMENTED, "images", [Contender(RAY, ours), *theirs])

    def _floor(self, root: Path) -> Case:
        """Images as bytes in the trainer, in order, none decoded."""
        windows, reader = self._windows(root, 4 * self.epochs), WindowReader(root, self.side)

        def by_ray() -> int:
            return sum(len(draft.labels) for draft in drafts_from_jpegs(windows, reader, _CPUS))

        def alone() -> int:
            drafts = (reader.drafts(window, byte_views(reader.read(window)["jpeg"]), paint_jpegs) for window in windows)
            return sum(len(draft.labels) for part in drafts for draft in part)

        return Case(FLOOR, "images", [Contender(RAY, by_ray), Contender(HERE, alone)])

    def _first(self, other: peers.Work, root: Path, ways: dict[str, Way]) -> Case:
        """From a running cluster to the first batch; a DataLoader starts its workers."""
        windows = self._windows(root, 25)
        ours = [Contender(name, functools.partial(_measure_first, way, windows)) for name, way in ways.items()]

        def peer() -> Measured:
            data = peers.Windows(WindowReader(root, self.side), windows)
            return _measure_first(lambda _: peers.loader(data, other, batch_size=None), windows)

        return Case(FIRST, "batches", [*ours, Contender(peers.PARQUET, peer)], measures="seconds")

    def _gap(self, root: Path, way: Way) -> Case:
        """Seconds by which the wait at a border between epochs exceeds the mean wait for other batches."""
        windows = self._windows(root, BORDERS + 1)

        def run() -> Measured:
            moments = [time.perf_counter()]
            epochs = np.array([window.epoch for window in windows for _ in range(window.batches)])
            moments += [time.perf_counter() for _ in way(windows)]
            waits, border = np.diff(moments)[1:], np.diff(epochs) > 0
            lost = waits[border].sum() - border.sum() * waits[~border].mean()
            return Measured(int(border.sum()), max(1e-9, float(lost)), None)

        return Case(GAP, "borders", [Contender(RAY, run)], measures="seconds")


def _count_images(way: Way, windows: Windows) -> int:
    return sum(len(batch.labels) for batch in way(windows))


def _measure_first(way: Callable[[Windows], Iterable[Any]], windows: Windows) -> Measured:
    """Measure the time to the first batch; stopping what was started for it is not measured."""
    before, start = cpu_seconds(), time.perf_counter()
    batches = iter(way(windows))
    next(batches)
    done = Measured(1, time.perf_counter() - start, max(1e-9, cpu_seconds() - before))
    stop = getattr(batches, "close", None) or getattr(batches, "_shutdown_workers")  # noqa: B009  (private to torch)
    stop()
    return done


def _check_equal(ways: dict[str, Way], reader: WindowReader, windows: Windows) -> None:
    """Check that all our contenders make the same batches, bit for bit.

    Raises:
        ValueError: a contender makes other batches.
    """
    expected = list(sequential_batches(windows, reader))
    for name, way in ways.items():
        for batch, due in zip(way(windows), expected, strict=True):
            if not (np.array_equal(batch.images, due.images) and np.array_equal(batch.rows, due.rows)):
                raise ValueError(f"{name}: its batches differ from the plan's")
