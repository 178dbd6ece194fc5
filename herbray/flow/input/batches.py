"""Four ways to make the batches of the epoch plan. All give the same batches, bit for bit."""

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import joblib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
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
    read_jpegs_of_window,
    read_pixels_of_window,
    row_ids,
)
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
    windows: int = Field(2, ge=1, description="windows that Ray tasks read ahead, about 40 MB of JPEGs each")
    cache: Annotated[Path | None, Mark("place")] = Field(
        None, description="folder of the decoded cache, ten times as large as the shards; None: no cache"
    )
    cache_gb: float = Field(64.0, gt=0, description="maximum size of the decoded cache, in 10⁹ bytes")


DEFAULT_LOADER: Final = LoaderSpec()
"""The default settings."""


def windows_of_rank(windows: Sequence[Window], rank: int, world: int, consumed: int = 0) -> list[Window]:
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
    return list(rest[: len(rest) // world * world][rank::world])


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
) -> Iterator[Batch]:
    """Make batches with Ray tasks, one per window. All epochs are one Ray Data execution, without restarts in between.

    With `decode="trainer"` the tasks send JPEGs, which threads of this process decode. With `decode="tasks"` they send
    pixels.

    Args:
        windows: of this rank, in order.
        reader: of the shards.
        cpus: reserved by each task.
        loader: settings.
        threads: that decode in this process; None: `decoding_threads`.
        allocate: allocates the images of a batch.

    Raises:
        RuntimeError: the rows received are not those of the plan, because Ray did not preserve their order.
    """
    if not windows:
        return iter(())
    drafts = {"trainer": drafts_from_jpegs, "tasks": drafts_from_pixels}[loader.decode](windows, reader, cpus, loader)
    return prefetch(drafts, reader.side, threads or decoding_threads(loader), loader.ahead, allocate)


def drafts_from_jpegs(
    windows: Sequence[Window], reader: WindowReader, cpus: float, loader: LoaderSpec = DEFAULT_LOADER
) -> Generator[Draft, None, None]:
    """Drafts of JPEGs that Ray tasks send; arguments as in `ray_batches`.

    This process reads the first window itself, because the processes of the tasks take seconds to start.
    """
    rest = windows[1:]
    task, tasks = functools.partial(read_jpegs_of_window, reader), min(loader.windows, len(rest))
    with ThreadPoolExecutor(1, "fetch") as starter:
        tables = _start_early(lambda: _run_window_tasks(rest, task, cpus, loader.windows, tasks), starter)
        for window in windows[:1]:
            yield from reader.drafts(window, byte_views(reader.read(window)["jpeg"]), paint_jpegs)
        counts = (sum(part.rows for part in window.slices) for window in rest)
        for window, table in zip(rest, _recut(tables, counts), strict=True):
            _check_rows(table, row_ids(window))
            yield from reader.drafts(window, byte_views(table["jpeg"]), paint_jpegs)


def _start_early(make: Callable[[], Iterator[pa.Table]], starter: ThreadPoolExecutor) -> Iterator[pa.Table]:
    """The tables of `make`. A thread of `starter` calls it at once and takes the first table, so that tasks start."""

    def start() -> tuple[list[pa.Table], Iterator[pa.Table]]:
        tables = make()
        return list(itertools.islice(tables, 1)), tables

    started = starter.submit(start)

    def iter_tables() -> Iterator[pa.Table]:
        first, others = started.result()
        yield from first
        yield from others

    return iter_tables()


def drafts_from_pixels(
    windows: Sequence[Window], reader: WindowReader, cpus: float, loader: LoaderSpec = DEFAULT_LOADER
) -> Generator[Draft, None, None]:
    """Drafts of pixels that Ray tasks send; arguments as in `ray_batches`."""
    tables = _run_window_tasks(
        windows, functools.partial(read_pixels_of_window, reader), cpus, loader.windows, tasks=None
    )
    wanted = (
        draft
        for window in windows
        for draft in reader.drafts(window, range(sum(part.rows for part in window.slices)), paint_jpegs)
    )
    counts = (window.batch for window in windows for _ in range(window.batches))
    for draft, table in zip(wanted, _recut(tables, counts), strict=True):
        _check_rows(table, draft.rows)
        flat = table["pixels"].combine_chunks().flatten().to_numpy()
        yield replace(draft, fill=functools.partial(_copy_pixels, flat.reshape(-1, reader.side, reader.side, 3)))


def _copy_pixels(pixels: Pixels, start: int, stop: int, out: Pixels) -> None:
    out[start:stop] = pixels[start:stop]


def _run_window_tasks(
    windows: Sequence[Window], task: Callable[[pa.Table], Any], cpus: float, ahead: int, tasks: int | None
) -> Iterator[pa.Table]:
    """The tables that the tasks send, in order, as whole blocks of the object store.

    Args:
        windows: one task each.
        task: turns a row with a window's JSON into a table or tables.
        cpus: reserved by each task.
        ahead: windows that are read ahead.
        tasks: most tasks at a time, each in a process of its own; None: no limit.
    """
    if not windows:
        return iter(())
    import ray.data  # here, so that the other functions work without Ray

    items = [{"window": window.to_json()} for window in windows]
    data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        task, batch_size=None, batch_format="pyarrow", num_cpus=cpus, compute=ray.data.TaskPoolStrategy(tasks)
    )
    return iter(data.iterator().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=ahead))


def _recut(tables: Iterator[pa.Table], counts: Iterable[int]) -> Iterator[pa.Table]:
    """Cut the rows of the tables into parts of `counts` rows, however Ray has split or joined its blocks."""
    pending: list[pa.Table] = []
    for count in counts:
        rows = sum(table.num_rows for table in pending)
        while rows < count and (table := next(tables, None)) is not None:
            pending.append(table)
            rows += table.num_rows
        joined = pa.concat_tables(pending)
        yield joined.slice(0, count)
        pending = [joined.slice(count)] if rows > count else []


def _check_rows(table: pa.Table, rows: npt.NDArray[np.int64]) -> None:
    if not np.array_equal(table["row"].to_numpy(), rows):
        raise RuntimeError(
            "the rows from Ray Data are not those of the plan: set DataContext.execution_options.preserve_order before "
            "Ray Data is used, as herbray.flow.cluster.connection does"
        )
