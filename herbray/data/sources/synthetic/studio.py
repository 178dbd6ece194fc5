"""Draws the sheets that are missing, on every core, with a word on how it goes."""

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

from herbray.console.progress import progress
from herbray.data.sources.synthetic.drawing import Subject, draw

QUALITY: Final = 90
"""JPEG quality of the sheets."""

CHUNK: Final = 32
"""Sheets that a process draws at a time."""

ALONE: Final = 8 * CHUNK
"""Up to so many sheets are drawn in this process: starting others would take longer."""

Job = tuple[Subject, Path]


def draw_all(jobs: Iterator[Job], count: int, size: int, seed: int, workers: int | None) -> None:
    """Draw `count` sheets as JPEG files; each appears whole or not at all.

    Args:
        jobs: what to draw and where; parent folders are made.
        count: how many there are.
        size: width in pixels.
        seed: of the herbarium.
        workers: processes; None for the cores that this process may use.
    """
    if not count:
        return
    with progress() as bar:
        task = bar.add_task("draw", total=count, unit="sheet")
        for done in _drawn(jobs, count, partial(_draw_chunk, size=size, seed=seed), workers or _cores()):
            bar.advance(task, done)


def _drawn(jobs: Iterator[Job], count: int, work: Callable[[Sequence[Job]], int], workers: int) -> Iterator[int]:
    chunks = iter(lambda: list(islice(jobs, CHUNK)), [])
    if workers == 1 or count <= ALONE:
        yield from map(work, chunks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:  # threads of the caller rule out fork
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


def _draw_chunk(jobs: Sequence[Job], size: int, seed: int) -> int:
    for subject, path in jobs:
        data = simplejpeg.encode_jpeg(draw(subject, size, seed), quality=QUALITY, colorsubsampling="420")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_bytes(data)
        new.replace(path)
    return len(jobs)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
