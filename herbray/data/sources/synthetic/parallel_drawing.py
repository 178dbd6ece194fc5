"""Draw sheets on all cores, with a progress bar."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import simplejpeg

from herbray import storage
from herbray.console.progress import progress
from herbray.data.sources.synthetic.drawing.sheet import Subject, draw_sheet

JPEG_QUALITY: Final = 90
"""JPEG quality of the sheets."""

CHUNK_SHEETS: Final = 32
"""Sheets per task of a process."""

MAX_IN_PROCESS: Final = 8 * CHUNK_SHEETS
"""Up to this number, sheets are drawn in this process, because starting others would take longer."""

DrawJob = tuple[Subject, Path]


def draw_all(jobs: Iterator[DrawJob], count: int, size: int, seed: int, workers: int | None) -> None:
    """Draw `count` sheets as JPEG files; each file appears whole or not at all.

    Args:
        jobs: descriptions and paths of sheets; parent folders are created.
        count: number of jobs.
        size: width in pixels.
        seed: seed of the herbarium.
        workers: number of processes; None for the cores that this process may use.
    """
    if not count:
        return
    with progress() as bar:
        task = bar.add_task("draw", total=count, unit="sheet")
        for done in _draw_in_chunks(jobs, count, partial(_draw_chunk, size=size, seed=seed), workers or _count_cores()):
            bar.advance(task, done)


def _draw_in_chunks(
    jobs: Iterator[DrawJob], count: int, work: Callable[[Sequence[DrawJob]], int], workers: int
) -> Iterator[int]:
    chunks = iter(lambda: list(islice(jobs, CHUNK_SHEETS)), [])
    if workers == 1 or count <= MAX_IN_PROCESS:
        yield from map(work, chunks)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn")
    ) as pool:  # fork is unsafe if the caller has threads
        waiting: deque[Future[int]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _draw_chunk(jobs: Sequence[DrawJob], size: int, seed: int) -> int:
    for subject, path in jobs:
        data = simplejpeg.encode_jpeg(draw_sheet(subject, size, seed), quality=JPEG_QUALITY, colorsubsampling="420")
        if storage.is_remote(path):
            storage.write_object(path, data)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_bytes(data)
        new.replace(path)
    return len(jobs)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
