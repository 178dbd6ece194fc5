"""The epoch plan as a stream of ready batches, through Ray or in this process: the same batches, bit for bit."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from herbray.data import images, plan


@dataclass(frozen=True)
class Batch:
    """One ready batch of n rows.

    Attributes:
        images: UInt8 [n, side, side, 3], RGB.
        labels: Int64 [n], places in the class list; -1 for a genus outside it.
        rows: Int64 [n], bag × 2³² + row: names a specimen of the shards.
        seed: of the batch's augmentation.
        last: whether the batch closes its window.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    seed: int
    last: bool


class WindowReader:
    """Turns a window into its batches: reads the row groups, orders the rows, decodes.

    Args:
        root: the shards folder.
        side: pixels of the shards' short side.
        centre: cut squares from the centre (evaluation) instead of where the plan says.
    """

    def __init__(self, root: Path, side: int, centre: bool = False) -> None:
        """Open nothing yet: the reader travels to Ray tasks."""
        self.root, self.side, self.centre = str(root), side, centre

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Ray's side of `batches`: a row with a window's JSON in, a row a batch out."""
        for batch in self.batches(plan.Window.from_json(row["window"])):
            yield {
                "images": batch.images,
                "labels": batch.labels,
                "rows": batch.rows,
                "seed": batch.seed,
                "last": batch.last,
            }

    def batches(self, window: plan.Window) -> Iterator[Batch]:
        """The window's batches, in order.

        Raises:
            ValueError: a row group is not what the index says; the shards were changed or damaged.
        """
        order = plan.order(window)
        jpegs = self._read(window)
        labels = np.array([part.label for part in window.slices], np.int64)
        bags = np.array([part.bag for part in window.slices], np.int64)
        for number in range(window.batches):
            place, row = order.slice[number], order.row[number]
            picked = [jpegs[int(p)][int(r)].as_py() for p, r in zip(place, row, strict=True)]
            pixels = images.squares(picked, self.side, None if self.centre else order.offset[number])
            last = number + 1 == window.batches
            yield Batch(pixels, labels[place], bags[place] << 32 | row, int(order.seeds[number]), last)

    def _read(self, window: plan.Window) -> list[pa.ChunkedArray]:
        files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        columns = []
        for part in window.slices:
            if part.file not in files:
                files[part.file] = pq.ParquetFile(Path(self.root, part.file), memory_map=True)
            column = files[part.file].read_row_group(part.row_group, columns=["jpeg"])["jpeg"]
            if len(column) != part.rows:
                raise ValueError(
                    f"{self.root}/{part.file}: row group {part.row_group} holds {len(column)} rows, the index says "
                    f"{part.rows}; run `herbray shard` again"
                )
            columns.append(column)
        return columns


def share(windows: Sequence[plan.Window], rank: int, world: int, consumed: int = 0) -> list[plan.Window]:
    """The windows that a rank takes: every rank the same number, none twice.

    World size decides only who takes which. Where it does not divide what is left, the last windows (fewer than
    `world`) are left out; `Stream.align` makes that rare.

    Args:
        windows: of all epochs, one after the other.
        rank: of this worker.
        world: number of workers.
        consumed: windows that were trained on before, by all ranks together.
    """
    rest = windows[consumed:]
    return list(rest[: len(rest) // world * world][rank::world])


def local(windows: Iterable[plan.Window], reader: WindowReader) -> Iterator[Batch]:
    """Batches made in this process: the oracle of the tests, validation, and machines without Ray."""
    for window in windows:
        yield from reader.batches(window)


def stream(windows: Sequence[plan.Window], reader: WindowReader, cpus: float, ahead: int = 2) -> Iterator[Batch]:
    """Batches made by Ray tasks, one a window, of all epochs in one execution: no restart between epochs.

    Args:
        windows: what this rank takes, in order.
        reader: makes the batches.
        cpus: that each task reserves.
        ahead: batches fetched before they are asked for.
    """
    import ray  # here, so that a machine with a GPU and no Ray can use the reader

    if not windows:
        return
    items = [{"window": window.to_json()} for window in windows]
    data = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(reader.__call__, num_cpus=cpus)
    for row in data.iterator().iter_batches(batch_size=1, prefetch_batches=ahead, batch_format="numpy"):
        yield Batch(row["images"][0], row["labels"][0], row["rows"][0], int(row["seed"][0]), bool(row["last"][0]))
