"""How a table is opened: a file of this machine, a local copy, or the object itself."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from herbray.storage import cache, store
from herbray.storage.address import place_of


@dataclass(frozen=True)
class OpenedTable:
    """A table that can be read.

    Attributes:
        source: for `pyarrow.parquet.ParquetFile`.
        is_local: whether it is a file of this machine.
    """

    source: Any
    is_local: bool

    @contextmanager
    def open_bytes(self) -> Iterator[IO[bytes]]:
        """Open it for reading in any order."""
        if self.is_local:
            with Path(self.source).open("rb") as file:
                yield file
        else:
            yield self.source
            self.source.seek(0)


def open_table(path: Path, whole: bool, check: Callable[[Path], object]) -> OpenedTable:
    """Open a table.

    Args:
        path: of the table.
        whole: of an object, fetch all of it and read the local copy; else only what is read is fetched, unless this
            process has a copy already.
        check: called with a copy that has just been fetched.

    Raises:
        FileNotFoundError: there is no such file or object.
        OSError: the store does not answer, or the cache's disk is full.
    """
    place = place_of(path)
    if place is None:
        return OpenedTable(path, True)
    if whole:
        return OpenedTable(cache.fetch(path, trusted=True, check=check), True)
    file = store.open_object(place)[0]
    if int(file.size()) <= _SMALL:
        with file:
            return OpenedTable(io.BytesIO(b"".join(store.read_chunks(place, file))), False)
    return OpenedTable(file, False)


_SMALL = 1 << 20
"""Bytes up to which a table is read in one request."""
