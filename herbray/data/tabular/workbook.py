"""Sheets of workbooks: Excel's .xlsx, .xlsm, .xlsb and .xls, and .ods, through python-calamine."""

import datetime
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 1 << 30
"""Unpacked size of a workbook: far more than a sheet of a million rows, and less than memory."""


def read_sheet(path: Path, sheet: str | None) -> Iterator[list[str]]:
    """Yield the rows of a sheet as texts; all rows have the same number of cells.

    Args:
        path: of the workbook.
        sheet: its name; None: the only sheet that is not empty.

    Raises:
        ValueError: the workbook cannot be read, is too large, or has no such sheet or several sheets to choose from.
    """
    import python_calamine as calamine  # only for workbooks

    _check_size(path)
    try:
        book = calamine.CalamineWorkbook.from_path(str(path))
        name = sheet if sheet is not None else _find_only_sheet(path, book)
        if name not in book.sheet_names:
            raise ValueError(f"{path}: no sheet {name!r}; the sheets are {', '.join(map(repr, book.sheet_names))}")
        rows = book.get_sheet_by_name(name).iter_rows()
        yield from ([format_cell(cell) for cell in row] for row in rows)
    except calamine.CalamineError as error:
        raise ValueError(f"{path}: cannot be read as a workbook ({error}); save it as CSV in UTF-8") from None


def _check_size(path: Path) -> None:
    """Refuse a workbook that would not fit in memory; its sheets are compressed, a thousand times at most."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size / 1e9:.1f} GB when unpacked; save it as CSV in UTF-8, which is read in pieces")


def _find_only_sheet(path: Path, book: Any) -> str:  # noqa: ANN401  (calamine's)
    filled = [name for name in book.sheet_names if book.get_sheet_by_name(name).height]
    if len(filled) > 1:
        raise ValueError(f"{path}: several sheets; choose one, e.g. sheet={filled[0]!r} of {', '.join(filled)}")
    return filled[0] if filled else str(book.sheet_names[0])


def format_cell(value: object) -> str:
    """Write a cell as text: 12.0 as "12", a date as "1954-03-01", an empty cell as "".

    A date before 1900, which Excel cannot store but other programs write as a negative number, comes as midnight; the
    text is then empty, because the date is unknown.
    """
    if value is None or value == datetime.time():
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
