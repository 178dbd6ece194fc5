"""herbray's tables on disk: Parquet files that are written completely or not at all, and verified when read.

Parquet's page checksums (CRC-32) protect the values, but not the footer, which holds the positions and names of the
columns. So herbray puts a *seal* in front of the footer: 16 bytes of magic, then the SHA-256 of everything before the
seal and the SHA-256 of the footer. Other Parquet readers skip the seal, because the positions in a footer are absolute.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from herbray.storage import DamagedFile, MissingFile, StoreRefused, explain_error, fetch, place_of, replace_file
from herbray.storage.opened import open_table

NOTE: Final = b"herbray"
"""Key of the footer's metadata that holds the table's note, as JSON."""

_MAGIC: Final = b"herbray sealed 1"
_SEAL: Final = struct.Struct("<16s32s32s")  # magic, digest of the body, digest of the footer
_TAIL: Final = struct.Struct("<I4s")  # length of the footer, "PAR1"
_CHUNK: Final = 1 << 22
_ABSENT_ERRORS: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class TableFile:
    """An open table, whose row groups and columns are verified when they are read.

    Args:
        path: of the file.
        remedy: which command makes the file again.
        memory_map: read through the page cache; uncompressed columns are then not copied. Of a table in a bucket, the
            whole object is then fetched into the node's cache; otherwise only the columns that are read are.

    Attributes:
        rows: number of rows.
        bytes: size of the file.
        groups: number of row groups.
        note: see `add_note`; empty if there is none.
    """

    def __init__(self, path: Path, remedy: str, memory_map: bool = False) -> None:
        """Read and verify the footer.

        Raises:
            MissingFile: the file does not exist.
            DamagedFile: the file was not written by herbray, or its footer was changed.
            OSError: the storage cannot read the file.
        """
        self.path, self.remedy = path, remedy
        with self._named():
            opened = open_table(path, whole=memory_map, check=lambda copy: _verify(copy, path, remedy))
            with opened.open_bytes() as file:
                _check_footer(file, path, remedy)
                self.bytes: int = file.seek(0, 2)
            self._file = pq.ParquetFile(
                opened.source, memory_map=opened.is_local and memory_map, page_checksum_verification=True
            )
            self.schema: pa.Schema = self._file.schema_arrow
            self.rows: int = self._file.metadata.num_rows
            self.groups: int = self._file.metadata.num_row_groups
            note = (self._file.metadata.metadata or {}).get(NOTE)
            self.note: dict[str, Any] = json.loads(note) if note else {}

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all rows.

        Raises:
            DamagedFile: a page was changed after it was written.
            OSError: the storage cannot read the file.
        """
        with self._named():
            return self._file.read(columns=columns and list(columns))

    def read_group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one row group, on the caller's thread; raises as `read` does."""
        with self._named():
            return self._file.read_row_group(number, columns=columns and list(columns), use_threads=False)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn Arrow's errors into errors that name the file and the remedy."""
        try:
            yield
        except _ABSENT_ERRORS:
            raise MissingFile(self.path, self.remedy) from None
        except (DamagedFile, StoreRefused):
            raise
        except (OSError, pa.ArrowException, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:  # an error of the storage, not of Arrow
                raise
            if refusal := explain_error(error, place_of(self.path)):
                raise refusal from None
            raise DamagedFile(self.path, f"damaged ({_first_line(error)})", self.remedy) from None


def read(path: Path, remedy: str, schema: pa.Schema | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or some of its columns.

    Args:
        path: of the file.
        remedy: which command makes the file again.
        schema: that the file must have; None: any.
        columns: to read; None: all.

    Raises:
        MissingFile: the file does not exist.
        DamagedFile: the file is damaged, or its columns differ from `schema`.
        OSError: the storage cannot read the file.
    """
    file = TableFile(path, remedy)
    if schema is not None:
        check_columns(file.schema, schema, path, remedy)
    return file.read(columns)


def check_columns(found: pa.Schema, wanted: pa.Schema, path: Path, remedy: str) -> None:
    """Check that a table has the columns of this version.

    Raises:
        DamagedFile: names, types or order of columns differ.
    """
    if found.equals(wanted):
        return
    lacks = [name for name in wanted.names if name not in found.names]
    extra = [name for name in found.names if name not in wanted.names]
    other = [n for n in wanted.names if n in found.names and not found.field(n).equals(wanted.field(n))]
    parts = (("lacks", lacks), ("has", extra), ("has other types in", other))
    difference = ", ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names) or "another order of columns"
    raise DamagedFile(path, f"not a table of this version of herbray ({difference})", remedy)


def write(path: Path, table: pa.Table, note: Mapping[str, Any] | None = None) -> None:
    """Write a table completely or not at all, compressed, with checksums and a seal.

    Args:
        path: of the file; an existing file is replaced.
        table: the rows.
        note: see `add_note`.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    with open_writer(path, table.schema) as file:
        if table.num_rows:
            file.write_table(table)
        if note is not None:
            add_note(file, note)


@contextmanager
def open_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:  # noqa: ANN401  (Parquet's)
    """Open a writer of row groups; the complete file appears at the end of the body, with checksums and a seal.

    Args:
        path: of the file; an existing file is replaced.
        schema: of the table.
        options: of `pyarrow.parquet.ParquetWriter`.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    with replace_file(path) as temporary:
        chosen = {"compression": "zstd", **options}
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True, **chosen) as writer:
            yield writer
        _seal(temporary)


def add_note(writer: pq.ParquetWriter, note: Mapping[str, Any]) -> None:
    """Add facts about the table to its footer; read as `TableFile.note`."""
    writer.add_key_value_metadata({NOTE.decode(): json.dumps(dict(note))})


def verify(path: Path, remedy: str) -> None:
    """Check every byte of a file against its seal.

    Raises:
        MissingFile: the file does not exist.
        DamagedFile: the file was changed after it was written.
        OSError: the storage cannot read the file.
    """
    try:
        _verify(fetch(path), path, remedy)
    except _ABSENT_ERRORS:
        raise MissingFile(path, remedy) from None


def _verify(copy: Path, path: Path, remedy: str) -> None:
    """Check every byte of a copy of the file `path`."""
    with copy.open("rb") as file:
        body, start = _check_footer(file, path, remedy)
        file.seek(0)
        if _digest(file, start) != body:
            raise DamagedFile(path, "damaged, its content was changed after it was written", remedy)


def _seal(path: Path) -> None:
    """Put the seal between the body and the footer of a finished Parquet file."""
    with path.open("r+b") as file:
        start = _footer_start(file)
        file.seek(start)
        footer = file.read()
        file.seek(0)
        body = _digest(file, start)
        file.seek(start)
        file.write(_SEAL.pack(_MAGIC, body, hashlib.sha256(footer).digest()) + footer)


def _check_footer(file: IO[bytes], path: Path, remedy: str) -> tuple[bytes, int]:
    """Check the footer; return the digest of the body and the position where the body ends."""
    try:
        start = _footer_start(file) - _SEAL.size
        file.seek(max(0, start))
        magic, body, footer = _SEAL.unpack(file.read(_SEAL.size))
    except (struct.error, ValueError):
        raise DamagedFile(path, "damaged, truncated or not a Parquet file", remedy) from None
    if magic != _MAGIC:
        raise DamagedFile(path, "damaged, or written by an earlier version without a seal", remedy)
    if hashlib.sha256(file.read()).digest() != footer:
        raise DamagedFile(path, "damaged, its footer was changed after it was written", remedy)
    return body, start


def _footer_start(file: IO[bytes]) -> int:
    """The position of the footer of a Parquet file.

    Raises:
        ValueError: the file is truncated or not a Parquet file.
    """
    size = file.seek(0, 2)
    if size < _TAIL.size:
        raise ValueError("too short")
    file.seek(size - _TAIL.size)
    length, magic = _TAIL.unpack(file.read(_TAIL.size))
    if magic != b"PAR1" or length > size - _TAIL.size:
        raise ValueError("not a Parquet file")
    return size - _TAIL.size - int(length)


def _digest(file: IO[bytes], length: int) -> bytes:
    """SHA-256 of the next `length` bytes."""
    digest, left = hashlib.sha256(), length
    while left and (data := file.read(min(_CHUNK, left))):
        digest.update(data)
        left -= len(data)
    return digest.digest()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
