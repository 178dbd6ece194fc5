"""Every table of ours on disk: Parquet files written whole, and verified as they are read.

Parquet's page checksums (CRC-32) guard the values. They do not cover the footer, which says where the columns lie and
what they are called. So a *seal* stands before the footer: 16 bytes of magic, then the SHA-256 of all that comes before
it and of the footer. Other Parquet readers skip the seal, since a footer finds its columns by their absolute places.
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

from herbray.storage import DamagedFile, MissingFile, replace_file

NOTE: Final = b"herbray"
"""Key of the footer's metadata under which a table's own note stands, as JSON."""

_MAGIC: Final = b"herbray sealed 1"
_SEAL: Final = struct.Struct("<16s32s32s")  # magic, digest of the body, digest of the footer
_TAIL: Final = struct.Struct("<I4s")  # length of the footer, "PAR1"
_CHUNK: Final = 1 << 22
_ABSENT_ERRORS: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class TableFile:
    """An open table: its row groups and columns, verified as they are read.

    Args:
        path: of the file.
        remedy: which command makes the file anew.
        memory_map: read through the page cache, without a copy where a column is not compressed.

    Attributes:
        rows: number of rows.
        groups: number of row groups.
        note: what its writer noted; empty without.
    """

    def __init__(self, path: Path, remedy: str, memory_map: bool = False) -> None:
        """Read and verify the footer.

        Raises:
            MissingFile: there is no such file.
            DamagedFile: it is no table of ours, or its footer was changed.
            OSError: the storage does not give the file.
        """
        self.path, self.remedy = path, remedy
        with self._named():
            with path.open("rb") as file:
                _check_footer(file, path, remedy)
            self._file = pq.ParquetFile(path, memory_map=memory_map, page_checksum_verification=True)
            self.schema: pa.Schema = self._file.schema_arrow
            self.rows: int = self._file.metadata.num_rows
            self.groups: int = self._file.metadata.num_row_groups
            note = (self._file.metadata.metadata or {}).get(NOTE)
            self.note: dict[str, Any] = json.loads(note) if note else {}

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows.

        Raises:
            DamagedFile: a page is not what was written.
            OSError: the storage does not give it.
        """
        with self._named():
            return self._file.read(columns=columns and list(columns))

    def read_group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group, read on the caller's thread; raises as `read` does."""
        with self._named():
            return self._file.read_row_group(number, columns=columns and list(columns), use_threads=False)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file and the way out where Arrow names neither."""
        try:
            yield
        except _ABSENT_ERRORS:
            raise MissingFile(self.path, self.remedy) from None
        except DamagedFile:
            raise
        except (OSError, pa.ArrowException, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the storage's complaint, not Arrow's
                raise
            raise DamagedFile(self.path, f"damaged ({_first_line(error)})", self.remedy) from None


def read(path: Path, remedy: str, schema: pa.Schema | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole table, or some of its columns.

    Args:
        path: of the file.
        remedy: which command makes the file anew.
        schema: that the file must have; None for any.
        columns: to read; None for all.

    Raises:
        MissingFile: there is no such file.
        DamagedFile: it is damaged, or has other columns than `schema`.
        OSError: the storage does not give it.
    """
    file = TableFile(path, remedy)
    if schema is not None:
        check_columns(file.schema, schema, path, remedy)
    return file.read(columns)


def check_columns(found: pa.Schema, wanted: pa.Schema, path: Path, remedy: str) -> None:
    """Refuse a table of another version.

    Raises:
        DamagedFile: names or types of columns differ.
    """
    if found.equals(wanted):
        return
    lacks = [name for name in wanted.names if name not in found.names]
    extra = [name for name in found.names if name not in wanted.names]
    other = [n for n in wanted.names if n in found.names and not found.field(n).equals(wanted.field(n))]
    parts = (("lacks", lacks), ("has", extra), ("has other types in", other))
    told = ", ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names) or "another order of columns"
    raise DamagedFile(path, f"not a table of this version of herbray ({told})", remedy)


def write(path: Path, table: pa.Table, note: Mapping[str, Any] | None = None) -> None:
    """Write a table whole or not at all, compressed, with checksums and a seal.

    Args:
        path: of the file; a file that is there is replaced.
        table: the rows.
        note: of its writer, given back as `TableFile.note`.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with open_writer(path, table.schema) as file:
        if table.num_rows:
            file.write_table(table)
        if note is not None:
            add_note(file, note)


@contextmanager
def open_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:  # noqa: ANN401  (Parquet's)
    """A writer of row groups; the file appears whole at the end, with checksums and a seal.

    Args:
        path: of the file; a file that is there is replaced.
        schema: of its columns.
        options: of `pyarrow.parquet.ParquetWriter`.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with replace_file(path) as temporary:
        chosen = {"compression": "zstd", **options}
        with pq.ParquetWriter(temporary, schema, write_page_checksum=True, **chosen) as writer:
            yield writer
        _seal(temporary)


def add_note(writer: pq.ParquetWriter, note: Mapping[str, Any]) -> None:
    """Have a table say something of itself; see `TableFile.note`."""
    writer.add_key_value_metadata({NOTE.decode(): json.dumps(dict(note))})


def verify(path: Path, remedy: str) -> None:
    """Read a whole file and compare every byte with what was written.

    Raises:
        MissingFile: there is no such file.
        DamagedFile: a byte is not what was written.
        OSError: the storage does not give it.
    """
    try:
        with path.open("rb") as file:
            body, start = _check_footer(file, path, remedy)
            file.seek(0)
            if _digest(file, start) != body:
                raise DamagedFile(path, "damaged, its content was changed since it was written", remedy)
    except _ABSENT_ERRORS:
        raise MissingFile(path, remedy) from None


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
    """The digest of the body and where it ends, if the footer is what was written."""
    try:
        start = _footer_start(file) - _SEAL.size
        file.seek(max(0, start))
        magic, body, footer = _SEAL.unpack(file.read(_SEAL.size))
    except (struct.error, ValueError):
        raise DamagedFile(path, "damaged, cut off or no Parquet file", remedy) from None
    if magic != _MAGIC:
        raise DamagedFile(path, "damaged, or written by an earlier version without a seal", remedy)
    if hashlib.sha256(file.read()).digest() != footer:
        raise DamagedFile(path, "damaged, its footer was changed since it was written", remedy)
    return body, start


def _footer_start(file: IO[bytes]) -> int:
    """Where the footer of a Parquet file begins.

    Raises:
        ValueError: it is no Parquet file, or cut off.
    """
    size = file.seek(0, 2)
    if size < _TAIL.size:
        raise ValueError("too short")
    file.seek(size - _TAIL.size)
    length, magic = _TAIL.unpack(file.read(_TAIL.size))
    if magic != b"PAR1" or length > size - _TAIL.size:
        raise ValueError("no Parquet file")
    return size - _TAIL.size - int(length)


def _digest(file: IO[bytes], length: int) -> bytes:
    """SHA-256 of the next bytes."""
    digest, left = hashlib.sha256(), length
    while left and (data := file.read(min(_CHUNK, left))):
        digest.update(data)
        left -= len(data)
    return digest.digest()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
