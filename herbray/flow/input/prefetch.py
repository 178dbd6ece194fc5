"""Drafts become batches on a pool of threads, ahead of use: the step and the decoder work at the same time."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from herbray.flow.input.window_reader import Batch, Draft, Pixels

MIN_PIECE = 16
"""Fewest images that a thread takes at once: less, and handing them over costs more than is won."""

Allocate = Callable[[tuple[int, int, int, int]], Pixels]


def allocate_pageable(shape: tuple[int, int, int, int]) -> Pixels:
    """Plain memory for a batch."""
    return np.empty(shape, np.uint8)


def allocate_pinned(shape: tuple[int, int, int, int]) -> Pixels:
    """Page-locked memory for a batch: torch takes it from a pool, and takes it back when batch and copy are done."""
    import torch  # here: without CUDA nothing asks for it

    pixels: Pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()
    return pixels


@dataclass(frozen=True)
class _PendingBatch:
    """A batch that threads are still filling."""

    draft: Draft
    images: Pixels
    pieces: list[Future[None]]

    def wait(self) -> Batch:
        for piece in self.pieces:
            piece.result()
        return self.draft.batch(self.images)


_End = BaseException | None  # what stopped the drafts: an error, or nothing more to come


def prefetch(
    drafts: Generator[Draft, None, None], side: int, threads: int, depth: int, allocate: Allocate = allocate_pageable
) -> Iterator[Batch]:
    """Fill drafts with pixels, in order, before they are asked for.

    A thread of its own draws the drafts, so that waiting for them (Ray, a disk) never holds up the caller. The batches
    are those of filling each draft in turn, whatever the number of threads.

    Args:
        drafts: in order; closed when the caller stops early.
        side: pixels.
        threads: that decode.
        depth: batches that are ready or being decoded while the caller has its own; two more may be held in memory.
        allocate: memory for one batch.

    Raises:
        Exception: what drawing or filling a draft raised, at the batch where it happened.
    """
    coming: queue.Queue[_PendingBatch | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    with ThreadPoolExecutor(threads, "decode") as pool:
        feeder = threading.Thread(
            target=_submit_drafts,
            args=(drafts, side, threads, allocate, pool, coming, stop),
            name="drafts",
            daemon=True,
        )
        feeder.start()
        try:
            while isinstance(item := coming.get(), _PendingBatch):
                yield item.wait()
            if item is not None:
                raise item
        finally:
            stop.set()
            while feeder.is_alive():  # it may stand before a full queue
                _drop_one(coming)
                feeder.join(0.02)
            pool.shutdown(cancel_futures=True)


def _submit_drafts(
    drafts: Generator[Draft, None, None],
    side: int,
    threads: int,
    allocate: Allocate,
    pool: ThreadPoolExecutor,
    coming: "queue.Queue[_Coming | _End]",
    stop: threading.Event,
) -> None:
    end: _End = None
    try:
        for draft in drafts:
            rows = len(draft.labels)
            images = allocate((rows, side, side, 3))
            step = max(MIN_PIECE, -(-rows // threads))
            pieces = [pool.submit(draft.fill, i, min(i + step, rows), images) for i in range(0, rows, step)]
            coming.put(_PendingBatch(draft, images, pieces))
            if stop.is_set():
                break
    except BaseException as error:
        end = error
    finally:
        drafts.close()
        if not stop.is_set():
            coming.put(end)


def _drop_one(coming: "queue.Queue[_Coming | _End]") -> None:
    try:
        coming.get_nowait()
    except queue.Empty:
        pass
