"""The epoch plan as a stream of ready batches, by any of four ways: the same batches, bit for bit."""

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
from herbray.data import plan
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

__all__ = [
    "Batch",
    "Loader",
    "WindowReader",
    "cached",
    "developed",
    "fetched",
    "local",
    "share",
    "stream",
    "threaded",
    "threads_of",
]


class LoaderSpec(Spec):
    """Where and with how much help bytes become pixels. Changes speed, and no batch: no part of a run's identity."""

    decode: Literal["trainer", "tasks"] = Field(
        "trainer",
        description="trainer: threads beside the step, a tenth of the bytes; tasks: Ray's, where CPU nodes stand by",
    )
    threads: int | None = Field(None, ge=1, description="that decode for a worker; None: its share of the cores")
    ahead: int = Field(3, ge=1, description="batches decoded before they are asked for")
    windows: int = Field(2, ge=1, description="windows read before they are asked for, each about 40 MB of JPEG")
    cache: Annotated[Path | None, Mark("place")] = Field(
        None, description="folder for decoded pixels, ten times the bytes of the shards; None: decode every time"
    )
    cache_gb: float = Field(64.0, gt=0, description="most that the decoded pixels may take, in 10⁹ bytes")


DEFAULT_LOADER: Final = LoaderSpec()
"""Settings of whoever gives none."""


def windows_of_rank(windows: Sequence[plan.Window], rank: int, world: int, consumed: int = 0) -> list[plan.Window]:
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


def decoding_threads(loader: LoaderSpec, workers: int = 1) -> int:
    """Threads that decode for one of `workers` workers on this machine: never more than its share of the cores."""
    cores: int = joblib.cpu_count()  # heeds affinity and the container's quota
    mine = max(1, cores // max(1, workers))
    return min(mine, loader.threads or mine)


def sequential_batches(windows: Iterable[plan.Window], reader: WindowReader) -> Iterator[Batch]:
    """Batches made in this process, one after the other: the oracle of the tests."""
    for window in windows:
        yield from reader.batches(window)


def threaded_batches(
    windows: Iterable[plan.Window],
    reader: WindowReader,
    loader: LoaderSpec = DEFAULT_LOADER,
    threads: int | None = None,
    allocate: Allocate = allocate_pageable,
) -> Iterator[Batch]:
    """Batches read in this process and decoded ahead of use: machines without Ray.

    Args:
        windows: in order.
        reader: of the shards.
        loader: settings.
        threads: that decode; None for what `decoding_threads` says.
        allocate: memory for one batch.
    """

    def drafts() -> Generator[Draft, None, None]:
        for window in windows:
            yield from reader.drafts(window, byte_views(reader.read(window)["jpeg"]), paint_jpegs)

    return prefetch(drafts(), reader.side, threads or decoding_threads(loader), loader.ahead, allocate)


def cached_batches(
    windows: Sequence[plan.Window],
    reader: WindowReader,
    cache: DecodedCache,
    loader: LoaderSpec = DEFAULT_LOADER,
    threads: int | None = None,
    allocate: Allocate = allocate_pageable,
) -> Iterator[Batch]:
    """Batches cut from decoded pixels; `cache` was filled with the files of `windows`. Arguments as `threaded_batches`."""
    return prefetch(
        cache.drafts(windows, reader), reader.side, threads or decoding_threads(loader), loader.ahead, allocate
    )


def ray_batches(
    windows: Sequence[plan.Window],
    reader: WindowReader,
    cpus: float,
    loader: LoaderSpec = DEFAULT_LOADER,
    threads: int | None = None,
    allocate: Allocate = allocate_pageable,
) -> Iterator[Batch]:
    """Batches that Ray tasks feed, one task a window, of all epochs in one execution: no restart between epochs.

    With `decode="trainer"` the tasks fetch JPEGs and threads of this process decode them; the first window this process
    fetches too, while the tasks start. With `decode="tasks"` they send pixels.

    Args:
        windows: what this rank takes, in order.
        reader: of the shards.
        cpus: that each task reserves.
        loader: settings.
        threads: that decode in this process; None for what `decoding_threads` says.
        allocate: memory for one batch.

    Raises:
        RuntimeError: the rows that come are not those of the plan; Ray did not preserve their order.
    """
    if not windows:
        return iter(())
    drafts = {"trainer": drafts_from_jpegs, "tasks": drafts_from_pixels}[loader.decode](windows, reader, cpus, loader)
    return prefetch(drafts, reader.side, threads or decoding_threads(loader), loader.ahead, allocate)


def drafts_from_jpegs(
    windows: Sequence[plan.Window], reader: WindowReader, cpus: float, loader: LoaderSpec = DEFAULT_LOADER
) -> Generator[Draft, None, None]:
    """Drafts of JPEGs that Ray tasks send, all but the first window's; arguments as `stream`.

    A process for a task takes seconds to start. They pass while this one reads the first window by itself.
    """
    rest = windows[1:]
    task, tasks = functools.partial(read_jpegs_of_window, reader), min(loader.windows, len(rest))
    with ThreadPoolExecutor(1, "fetch") as beside:
        tables = _start_early(lambda: _run_window_tasks(rest, task, cpus, loader.windows, tasks), beside)
        for window in windows[:1]:
            yield from reader.drafts(window, byte_views(reader.read(window)["jpeg"]), paint_jpegs)
        counts = (sum(part.rows for part in window.slices) for window in rest)
        for window, table in zip(rest, _recut(tables, counts), strict=True):
            _check_rows(table, row_ids(window))
            yield from reader.drafts(window, byte_views(table["jpeg"]), paint_jpegs)


def _start_early(make: Callable[[], Iterator[pa.Table]], beside: ThreadPoolExecutor) -> Iterator[pa.Table]:
    """The tables of `make`, which is called at once, and asked for the first, by a thread beside this one."""

    def begin() -> tuple[list[pa.Table], Iterator[pa.Table]]:
        tables = make()
        return list(itertools.islice(tables, 1)), tables

    begun = beside.submit(begin)

    def every() -> Iterator[pa.Table]:
        first, others = begun.result()
        yield from first
        yield from others

    return every()


def drafts_from_pixels(
    windows: Sequence[plan.Window], reader: WindowReader, cpus: float, loader: LoaderSpec = DEFAULT_LOADER
) -> Generator[Draft, None, None]:
    """Drafts of pixels that Ray tasks send; arguments as `stream`."""
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
    windows: Sequence[plan.Window], task: Callable[[pa.Table], Any], cpus: float, ahead: int, tasks: int | None
) -> Iterator[pa.Table]:
    """What the tasks send, in order: whole blocks, as they lie in the object store.

    `tasks` bounds how many run at once; reading waits more than it works, and each takes a process of its own.
    """
    if not windows:
        return iter(())
    import ray.data  # here, so that a machine with a GPU and no Ray can use the rest

    items = [{"window": window.to_json()} for window in windows]
    data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        task, batch_size=None, batch_format="pyarrow", num_cpus=cpus, compute=ray.data.TaskPoolStrategy(tasks)
    )
    return iter(data.iterator().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=ahead))


def _recut(tables: Iterator[pa.Table], counts: Iterable[int]) -> Iterator[pa.Table]:
    """The rows of the tables in parts of so many: whatever Ray made of its blocks."""
    held: list[pa.Table] = []
    for count in counts:
        have = sum(table.num_rows for table in held)
        while have < count and (table := next(tables, None)) is not None:
            held.append(table)
            have += table.num_rows
        whole = pa.concat_tables(held)
        yield whole.slice(0, count)
        held = [whole.slice(count)] if have > count else []


def _check_rows(table: pa.Table, rows: npt.NDArray[np.int64]) -> None:
    if not np.array_equal(table["row"].to_numpy(), rows):
        raise RuntimeError(
            "the stream's rows are not those of the plan: set DataContext.execution_options.preserve_order before "
            "Ray Data is used, as flow/cluster.py does"
        )
