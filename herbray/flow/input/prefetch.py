"""Prefetching: drafts become batches on a pool of threads while the training step runs."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from herbray.flow.input.window_reader import Batch, Draft, Pixels

MIN_PIECE = 16
"""Fewest images per thread and piece of work: with fewer, the overhead exceeds the gain."""

Allocate = Callable[[tuple[int, int, int, int]], Pixels]
"""Allocates the images of a batch: shape → UInt8 array."""


def allocate_pageable(shape: tuple[int, int, int, int]) -> Pixels:
    """Ordinary memory for a batch."""
    return np.empty(shape, np.uint8)


def allocate_pinned(shape: tuple[int, int, int, int]) -> Pixels:
    """Page-locked memory for a batch, from torch's pool; torch reuses it once the batch and its copy are released."""
    import torch  # here: only needed with CUDA

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


_End = BaseException | None  # why there are no more drafts: an error, or None at the regular end


def prefetch(
    drafts: Generator[Draft, None, None], side: int, threads: int, depth: int, allocate: Allocate = allocate_pageable
) -> Iterator[Batch]:
    """Fill drafts with pixels, in order, before the caller asks for them.

    A separate thread iterates over the drafts, so that the caller does not wait while Ray or a disk is slow. The
    batches do not depend on the number of threads.

    Args:
        drafts: in order; closed if the caller stops early.
        side: pixels.
        threads: that decode.
        depth: batches that are ready or being decoded while the caller uses another; two more may be in memory.
        allocate: allocates the images of a batch.

    Raises:
        Exception: raised by a draft or its filling, at the batch where it happened.
    """
    pending: queue.Queue[_PendingBatch | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    with ThreadPoolExecutor(threads, "decode") as pool:
        feeder = threading.Thread(
            target=_submit_drafts,
            args=(drafts, side, threads, allocate, pool, pending, stop),
            name="drafts",
            daemon=True,
        )
        feeder.start()
        try:
            while isinstance(item := pending.get(), _PendingBatch):
                yield item.wait()
            if item is not None:
                raise item
        finally:
            stop.set()
            while feeder.is_alive():  # the feeder may be waiting at a full queue
                _drop_one(pending)
                feeder.join(0.02)
            pool.shutdown(cancel_futures=True)


def _submit_drafts(
    drafts: Generator[Draft, None, None],
    side: int,
    threads: int,
    allocate: Allocate,
    pool: ThreadPoolExecutor,
    pending: "queue.Queue[_PendingBatch | _End]",
    stop: threading.Event,
) -> None:
    """Submit the decoding of each draft and queue the batch; the end of the drafts is queued last."""
    end: _End = None
    try:
        for draft in drafts:
            rows = len(draft.labels)
            images = allocate((rows, side, side, 3))
            step = max(MIN_PIECE, -(-rows // threads))
            pieces = [pool.submit(draft.fill, i, min(i + step, rows), images) for i in range(0, rows, step)]
            pending.put(_PendingBatch(draft, images, pieces))
            if stop.is_set():
                break
    except BaseException as error:
        end = error
    finally:
        drafts.close()
        if not stop.is_set():
            pending.put(end)


def _drop_one(pending: "queue.Queue[_PendingBatch | _End]") -> None:
    with contextlib.suppress(queue.Empty):
        pending.get_nowait()
