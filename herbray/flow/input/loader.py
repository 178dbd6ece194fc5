"""The input of a training worker: which of the four ways makes its batches, on how many threads, in which memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from herbray.data.planning.plan import iter_files
from herbray.data.planning.window import Window
from herbray.flow.input.batches import LoaderSpec, cached_batches, decoding_threads, ray_batches, threaded_batches
from herbray.flow.input.decoded_cache import DecodedCache
from herbray.flow.input.fetch_ahead import fetch_ahead
from herbray.flow.input.prefetch import allocate_pageable, allocate_pinned
from herbray.flow.input.window_reader import Batch, WindowReader


def load_batches(
    windows: Sequence[Window],
    reader: WindowReader,
    loader: LoaderSpec,
    fingerprint: str,
    cpus: float | None = None,
    ahead: int | None = None,
    local_workers: int = 1,
    local_rank: int = 0,
) -> Iterator[Batch]:
    """Make the batches of one worker; in pinned memory if CUDA is available.

    Args:
        windows: of this worker, in order.
        reader: of the shards.
        loader: settings.
        fingerprint: of the shards; names the decoded cache.
        cpus: reserved by each Ray task; None: windows are read in this process, without Ray.
        ahead: windows that Ray tasks read ahead; None: `loader.windows`.
        local_workers: number of workers on this machine, including this one; they share its cores.
        local_rank: of this worker on this machine.

    Raises:
        CacheTooLarge: the decoded cache would be larger than its limit, or than the free space on the disk.
    """
    threads = decoding_threads(loader, local_workers)
    allocate = allocate_pinned if torch.cuda.is_available() else allocate_pageable
    if loader.cache is not None:
        cache = DecodedCache(Path(reader.root), loader.cache, fingerprint, reader.side)
        files = sorted(iter_files(windows))
        first = len(files) * local_rank // local_workers  # workers start at different files and skip finished ones
        cache.fill(files[first:] + files[:first], loader.cache_gb * 1e9, threads)
        return cached_batches(windows, reader, cache, loader, threads, allocate)
    if cpus is None:
        return fetch_ahead(threaded_batches(windows, reader, loader, threads, allocate), windows, reader)
    return ray_batches(windows, reader, cpus, loader, threads, allocate, ahead)
