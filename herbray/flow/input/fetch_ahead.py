"""Shard files in a bucket are fetched into the node's cache before their window is read."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from herbray.data.planning.plan import iter_files
from herbray.data.planning.window import Window
from herbray.flow.input.window_reader import Batch, WindowReader
from herbray.flow.shards.manifest import describe_remedy
from herbray.storage import StoreRefused, is_remote
from herbray.tables import TableFile


def fetch_ahead(batches: Iterator[Batch], windows: Sequence[Window], reader: WindowReader) -> Iterator[Batch]:
    """The same batches, while a thread fetches the files of the windows in their order; each file once.

    Errors are left to the reader, which needs the same file.
    """
    root = Path(reader.root)
    if not is_remote(root):
        yield from batches
        return
    stop = threading.Event()
    thread = threading.Thread(target=_fetch, args=(root, iter_files(windows), stop), name="fetch-ahead", daemon=True)
    thread.start()
    try:
        yield from batches
    finally:
        stop.set()
        thread.join()


def _fetch(root: Path, files: Iterator[str], stop: threading.Event) -> None:
    for file in files:
        if stop.is_set():
            return
        try:
            TableFile(root / file, describe_remedy(root), memory_map=True)
        except (OSError, ValueError, StoreRefused):
            return
