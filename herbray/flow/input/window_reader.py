"""Reads the images of a window from the shards, and makes its batches."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from herbray.data.planning.window import Window, order_rows
from herbray.flow.shards.manifest import describe_remedy
from herbray.tables import TableFile

Pixels = npt.NDArray[np.uint8]
Fill = Callable[[int, int, Pixels], None]
Paint = Callable[[Sequence[Any], int, npt.NDArray[np.float64], Pixels], None]
"""(images in any form, side, offsets, out): writes a square of each image into `out`."""


@dataclass(frozen=True)
class Batch:
    """A batch of n rows.

    Attributes:
        images: UInt8 [n, side, side, 3], RGB, writable, not shared with other batches; in pinned memory if CUDA is
            used, so that `torch.from_numpy(images).to(device, non_blocking=True)` needs no extra copy.
        labels: Int64 [n], positions in the class list; -1 for a genus outside the list.
        rows: Int64 [n], row ids, see `row_ids`.
        seed: of the batch's augmentation.
        last: whether the batch is the last of its window.
    """

    images: Pixels
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    seed: int
    last: bool


@dataclass(frozen=True)
class Draft:
    """A batch without pixels. `fill(start, stop, out)` writes the images of those rows into `out[start:stop]`."""

    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    seed: int
    last: bool
    fill: Fill

    def batch(self, images: Pixels) -> Batch:
        """The batch, once `images` is filled."""
        return Batch(images, self.labels, self.rows, self.seed, self.last)


class WindowReader:
    """Makes the batches of a window: reads its row groups, orders the rows, decodes the images.

    Args:
        root: the shards folder.
        side: pixels of the shards' short side.
    """

    def __init__(self, root: Path, side: int) -> None:
        """Open no file yet: the reader is sent to Ray tasks."""
        self.root, self.side = str(root), side

    def batches(self, window: Window) -> Iterator[Batch]:
        """Read and decode the window's batches, in order, on this thread.

        Raises:
            ValueError: see `read`.
        """
        for draft in self.drafts(window, byte_views(self.read(window)["jpeg"]), paint_jpegs):
            images = np.empty((window.batch, self.side, self.side, 3), np.uint8)
            draft.fill(0, window.batch, images)
            yield draft.batch(images)

    def read(self, window: Window) -> pa.Table:
        """Read the window's bags.

        Returns:
            `jpeg`, in the order of the window's slices, and `row`, the row ids.

        Raises:
            DamagedFile: a file is missing or damaged.
            ValueError: the number of rows in a row group is not that of the index.
        """
        files: dict[str, TableFile] = {}
        root = Path(self.root)
        chunks: list[pa.Array] = []
        for part in window.slices:
            if part.file not in files:
                files[part.file] = TableFile(root / part.file, describe_remedy(root), memory_map=True)
            column = files[part.file].read_group(part.row_group, ["jpeg"])["jpeg"]
            if len(column) != part.rows:
                raise ValueError(
                    f"{self.root}/{part.file}: row group {part.row_group} holds {len(column)} rows, the index says "
                    f"{part.rows}; {describe_remedy(root)}"
                )
            chunks += column.chunks
        return pa.table({"row": row_ids(window), "jpeg": pa.chunked_array(chunks, pa.binary())})

    def drafts(self, window: Window, pictures: Sequence[Any], paint: Paint) -> Iterator[Draft]:
        """The window's batches without pixels.

        Args:
            window: of the plan.
            pictures: all images of its slices, slice after slice, in a form that `paint` accepts.
            paint: writes their squares.
        """
        order = order_rows(window)
        labels = np.array([part.label for part in window.slices], np.int64)
        first = np.cumsum([0, *(part.rows for part in window.slices)])
        place = first[order.slice] + order.row
        rows = row_ids(window)[place]
        for number in range(window.batches):
            picked = [pictures[i] for i in place[number].tolist()]
            fill = functools.partial(_fill_rows, paint, picked, self.side, order.offset[number])
            last = number + 1 == window.batches
            yield Draft(labels[order.slice[number]], rows[number], int(order.seeds[number]), last, fill)


def row_ids(window: Window) -> npt.NDArray[np.int64]:
    """The id of each row of the window's slices, which identifies a specimen of the shards: bag × 2³² + row."""
    return np.concatenate([part.bag << 32 | np.arange(part.rows, dtype=np.int64) for part in window.slices])


def byte_views(column: pa.ChunkedArray) -> list[memoryview]:
    """The values of a binary column, without copying them."""
    found: list[memoryview] = []
    for chunk in column.chunks:
        _, ends, data = chunk.buffers()
        wide = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
        cuts = np.frombuffer(ends, wide)[chunk.offset : chunk.offset + len(chunk) + 1].tolist()
        view = memoryview(data or b"").cast("B")
        found += [view[a:b] for a, b in itertools.pairwise(cuts)]
    return found


def paint_jpegs(jpegs: Sequence[Any], side: int, offsets: npt.NDArray[np.float64] | None, out: Pixels) -> None:
    """A `Paint` for JPEGs."""
    from herbray.data.imaging import images  # here: a task that sends JPEGs needs no decoder

    images.decode_squares(jpegs, side, offsets, out=out)


def _fill_rows(
    paint: Paint,
    pictures: Sequence[Any],
    side: int,
    offsets: npt.NDArray[np.float64],
    start: int,
    stop: int,
    out: Pixels,
) -> None:
    paint(pictures[start:stop], side, offsets[start:stop], out[start:stop])
