"""Four ways to make the batches of the epoch plan. All give the same batches, bit for bit."""

import functools
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

import joblib
from pydantic import Field

from herbray.config import Spec
from herbray.data.planning.window import Window
from herbray.flow.input.decoded_cache import DecodedCache
from herbray.flow.input.prefetch import Allocate, allocate_pageable, prefetch
from herbray.flow.input.window_reader import (
    Batch,
    Draft,
    Pixels,
    WindowReader,
    byte_views,
    paint_jpegs,
)
from herbray.flow.input.window_tasks import decode_window, read_window, start_ahead
from herbray.settings.marks import Mark


class LoaderSpec(Spec):
    """Where JPEGs are decoded, and with which resources. Changes speed only, so it is not part of a run's identity."""

    decode: Literal["trainer", "tasks"] = Field(
        "trainer",
        description="trainer: JPEGs are decoded on threads of the training worker, and a tenth of the bytes is sent; "
        "tasks: in Ray tasks, for clusters with idle CPU nodes",
    )
    threads: int | None = Field(None, ge=1, description="decoding threads per worker; None: its share of the cores")
    ahead: int = Field(3, ge=1, description="batches to prefetch")
    windows: int = Field(
        2,
        ge=1,
        description="windows that Ray tasks read ahead, about 40 MB of JPEGs each; with `decode: tasks`, at least as "
        "many as the free CPUs can decode",
    )
    cache: Annotated[Path | None, Mark("place")] = Field(
        None, description="folder of the decoded cache, ten times as large as the shards; None: no cache"
    )
    cache_gb: float = Field(64.0, gt=0, description="maximum size of the decoded cache, in 10⁹ bytes")


DEFAULT_LOADER: Final = LoaderSpec()
"""The default settings."""


def windows_of_rank(windows: Sequence[Window], rank: int, world: int, consumed: int = 0) -> Sequence[Window]:
    """The windows of one rank. All ranks get the same number of windows; no window is used twice.

    The world size decides only which rank gets which window. If it does not divide the remaining windows, the last ones
    (fewer than `world`) are left out; `Stream.align` makes that rare.

    Args:
        windows: of all epochs, in order.
        rank: of this worker.
        world: number of workers.
        consumed: number of windows on which all ranks together have trained already.
    """
    rest = windows[consumed:]
    return rest[: len(rest) // world * world][rank::world]


def decoding_threads(loader: LoaderSpec, workers: int = 1) -> int:
    """Decoding threads for one of `workers` workers on this machine: at most its share of the cores."""
    cores: int = joblib.cpu_count()  # respects CPU affinity and the container's quota
    mine = max(1, cores // max(1, workers))
    return min(mine, loader.threads or mine)


def sequential_batches(windows: Iterable[Window], reader: WindowReader) -> Iterator[Batch]:
    """Make batches in this process, one after the other. Tests compare the other ways with this one."""
    for window in windows:
        yield from reader.batches(window)


def threaded_batches(
    windows: Iterable[Window],
    reader: WindowReader,
    loader: LoaderSpec = DEFAULT_LOADER,
    threads: int | None = None,
    allocate: Allocate = allocate_pageable,
) -> Iterator[Batch]:
    """Read windows in this process and prefetch their batches; for training without Ray.

    Args:
        windows: in order.
        reader: of the shards.
        loader: settings.
        threads: that decode; None: `decoding_threads`.
        allocate: allocates the images of a batch.
    """

    def drafts() -> Generator[Draft, None, None]:
        for window in windows:
            yield from reader.drafts(window, byte_views(reader.read(window)["jpeg"]), paint_jpegs)

    return prefetch(drafts(), reader.side, threads or decoding_threads(loader), loader.ahead, allocate)


def cached_batches(
    windows: Sequence[Window],
    reader: WindowReader,
    cache: DecodedCache,
    loader: LoaderSpec = DEFAULT_LOADER,
    threads: int | None = None,
    allocate: Allocate = allocate_pageable,
) -> Iterator[Batch]:
    """Cut batches from the decoded cache, which must hold the files of `windows`; else as `threaded_batches`."""
    return prefetch(
        cache.drafts(windows, reader), reader.side, threads or decoding_threads(loader), loader.ahead, allocate
    )


def ray_batches(
    windows: Sequence[Window],
    reader: WindowReader,
    cpus: float,
    loader: LoaderSpec = DEFAULT_LOADER,
    threads: int | None = None,
    allocate: Allocate = allocate_pageable,
    ahead: int | None = None,
) -> Iterator[Batch]:
    """Make batches with Ray tasks, one per window. A few tasks at a time are started, whatever the number of windows.

    With `decode="trainer"` the tasks send JPEGs, which threads of this process decode. With `decode="tasks"` they send
    pixels.

    Args:
        windows: of this rank, in order.
        reader: of the shards.
        cpus: reserved by each task.
        loader: settings.
        threads: that decode in this process; None: `decoding_threads`.
        allocate: allocates the images of a batch.
        ahead: windows that tasks read ahead; None: `loader.windows`.

    Raises:
        Exception: raised by a task, as in this process.
    """
    make = {"trainer": drafts_from_jpegs, "tasks": drafts_from_pixels}[loader.decode]
    drafts = make(windows, reader, cpus, ahead or loader.windows)
    return prefetch(drafts, reader.side, threads or decoding_threads(loader), loader.ahead, allocate)


def drafts_from_jpegs(
    windows: Sequence[Window], reader: WindowReader, cpus: float, ahead: int = DEFAULT_LOADER.windows
) -> Generator[Draft, None, None]:
    """Drafts of JPEGs that Ray tasks send; arguments as in `ray_batches`.

    This process reads the first window itself, because the processes of the tasks take seconds to start.
    """
    read = start_ahead(windows[1:], read_window, reader, cpus, ahead)
    for window in windows[:1]:
        yield from reader.drafts(window, byte_views(reader.read(window)["jpeg"]), paint_jpegs)
    for window, (table,) in read:
        yield from reader.drafts(window, byte_views(table["jpeg"]), paint_jpegs)


def drafts_from_pixels(
    windows: Sequence[Window], reader: WindowReader, cpus: float, ahead: int = DEFAULT_LOADER.windows
) -> Generator[Draft, None, None]:
    """Drafts of pixels that Ray tasks send; arguments as in `ray_batches`."""
    for window, tables in start_ahead(windows, decode_window, reader, cpus, ahead):
        drafts = reader.drafts(window, range(sum(part.rows for part in window.slices)), paint_jpegs)
        for draft, pixels in zip(drafts, tables, strict=True):
            yield replace(draft, fill=functools.partial(_copy_pixels, pixels))


def _copy_pixels(pixels: Pixels, start: int, stop: int, out: Pixels) -> None:
    out[start:stop] = pixels[start:stop]
