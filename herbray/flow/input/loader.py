"""What feeds a training worker: by which way batches come, on how many threads, into which memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from herbray.data import plan
from herbray.flow.input.batches import LoaderSpec, cached_batches, decoding_threads, ray_batches, threaded_batches
from herbray.flow.input.decoded_cache import DecodedCache
from herbray.flow.input.prefetch import allocate_pageable, allocate_pinned
from herbray.flow.input.window_reader import Batch, WindowReader


def load_batches(
    windows: Sequence[plan.Window],
    reader: WindowReader,
    loader: LoaderSpec,
    fingerprint: str,
    cpus: float | None = None,
    neighbours: int = 1,
    place: int = 0,
) -> Iterator[Batch]:
    """Batches for one worker; in pinned memory where there is CUDA.

    Args:
        windows: that this worker takes, in order.
        reader: of the shards.
        loader: settings.
        fingerprint: of the shards, which names the decoded cache.
        cpus: that a Ray task reserves; None reads in this process.
        neighbours: workers on this machine, this one counted; they share its cores.
        place: of this worker among them.

    Raises:
        CacheTooLarge: the decoded cache needs more room than is allowed, or than there is.
    """
    threads = decoding_threads(loader, neighbours)
    allocate = allocate_pinned if torch.cuda.is_available() else allocate_pageable
    if loader.cache is not None:
        cache = DecodedCache(Path(reader.root), loader.cache, fingerprint, reader.side)
        files = sorted({part.file for window in windows for part in window.slices})
        first = len(files) * place // neighbours  # each worker begins elsewhere and skips what another has made
        cache.fill(files[first:] + files[:first], loader.cache_gb * 1e9, threads)
        return cached_batches(windows, reader, cache, loader, threads, allocate)
    if cpus is None:
        return threaded_batches(windows, reader, loader, threads, allocate)
    import ray.data  # here: machines without Ray feed themselves

    from herbray.flow.input.executor_idle import install_idle_policy

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    install_idle_policy(context)
    return ray_batches(windows, reader, cpus, loader, threads, allocate)
