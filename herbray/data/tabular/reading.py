"""Open a table of any kind; its content, not its name, says whether it is a workbook, Parquet or delimited text."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from herbray import storage
from herbray.data.tabular import separators
from herbray.data.tabular.encodings import choose_encoding, explain_decoding
from herbray.data.tabular.header import find_positions
from herbray.data.tabular.records import BLANK, Record, Report, fit, read_records
from herbray.data.tabular.workbook import format_cell, read_sheet

_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .xlsm, .xlsb and .ods are ZIP files; .xls is OLE
_PARQUET: Final = b"PAR1"
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_COLUMN_TYPES: Final[tuple[Callable[[pa.DataType], bool], ...]] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_dictionary,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_temporal,
    pa.types.is_boolean,
    pa.types.is_null,
)


@dataclass(frozen=True)
class Dialect:
    """What the user says about a table; None: found out.

    Attributes:
        separator: of the fields of a delimited text.
        encoding: of a delimited text.
        sheet: of a workbook.
    """

    separator: str | None = None
    encoding: str | None = None
    sheet: str | None = None


@dataclass(frozen=True)
class OpenTable:
    """A table whose header has been read.

    Attributes:
        path: of the file.
        kind: for people: "CSV, semicolon, utf-8".
        header: names of the columns as written; an unnamed column is "".
        positions: folded name → position, see `header.fold`.
        records: number of the line (or row) in the file, from 1, and the row's texts, as many as the header has names.
    """

    path: Path
    kind: str
    header: list[str]
    positions: dict[str, int]
    records: Iterator[Record]


def open_table(path: Path, report: Report, dialect: Dialect = Dialect()) -> OpenTable:
    """Open a table and read its header.

    Args:
        path: of the file.
        report: receives rows that cannot be used, while `records` are read.
        dialect: what the user says about the table.

    Raises:
        ValueError: there is no such file, it cannot be read or decoded, it is empty, or its header repeats a name.
            Reading `records` raises it too.
    """
    _fetch(path)
    with explain_decoding(path, "utf-8"), path.open("rb") as file:
        head = file.read(8)
    if head.startswith(_PACKED):
        raise ValueError(f"{path}: compressed; unpack it first")
    if head.startswith(_WORKBOOKS):
        kind, records = "workbook", _read_cells(read_sheet(path, dialect.sheet), report)
    elif head.startswith(_PARQUET):
        kind, records = "Parquet", _read_cells(_read_parquet(path), report)
    else:
        kind, records = _open_text(path, report, dialect)
    _, header = next(records, (1, []))
    return OpenTable(path, kind, header, find_positions(path, header), records)


def _fetch(path: Path) -> None:
    """Make a local copy of a table in a bucket; errors of the store and of the cache's disk say what to do."""
    try:
        storage.fetch(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None


def _open_text(path: Path, report: Report, dialect: Dialect) -> tuple[str, Iterator[Record]]:
    encoding = choose_encoding(path, dialect.encoding)
    with explain_decoding(path, encoding), path.open(encoding=encoding, newline="") as file:
        sample = list(itertools.islice(file, separators.SAMPLE_LINES))
    declared = separators.read_declaration(sample[0]) if sample else None
    body = sample[1:] if declared else sample
    try:
        separator = dialect.separator or declared or separators.find_separator(body)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    name = separators.NAMES.get(separator, repr(separator))
    skipped = 1 if declared else 0
    return f"text, {name}, {encoding}", _read_lines(path, encoding, separator, report, skipped)


def _read_lines(path: Path, encoding: str, separator: str, report: Report, skipped: int) -> Iterator[Record]:
    with explain_decoding(path, encoding), path.open(encoding=encoding, newline="") as file:
        yield from read_records(itertools.islice(file, skipped, None), separator, report, skipped + 1)


def _read_cells(rows: Iterator[list[str]], report: Report) -> Iterator[Record]:
    """Number the rows of a table whose rows all have the same cells; the first row with text is the header."""
    width = 0
    for number, row in enumerate(rows, start=1):
        if not any(map(str.strip, row)):
            report(number, BLANK, "an empty row")
            continue
        width = width or max(place for place, cell in enumerate(row, start=1) if cell.strip())
        if (fitted := fit(row, width)) is None:
            report(number, "fields", f"a cell to the right of the header's {width} columns")
        else:
            yield number, fitted


def _read_parquet(path: Path) -> Iterator[list[str]]:
    """Yield the names of the columns that can be written as text, then the rows."""
    try:
        file = pq.ParquetFile(path)
        names = [field.name for field in file.schema_arrow if any(fits(field.type) for fits in _COLUMN_TYPES)]
        yield names
        for batch in file.iter_batches(columns=names):
            columns = [[format_cell(value) for value in column.to_pylist()] for column in batch.columns]
            yield from map(list, zip(*columns, strict=True))
    except pa.ArrowException as error:
        raise ValueError(f"{path}: cannot be read as Parquet ({error})") from None
