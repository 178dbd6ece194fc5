"""Tables for spreadsheet programs: CSV in which no text is interpreted as a formula."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray.storage import replace_file

FORMULA_STARTS: Final = tuple("=+-@\t\r\n＝＋－＠")
"""Characters at the start of a text that make spreadsheet programs treat it as a formula.

A formula may run programs or fetch URLs. The list is that of OWASP's page on CSV injection, with full-width forms.
"""


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a table as CSV (RFC 4180, UTF-8 with a byte order mark, which spreadsheet programs want).

    Texts that could be read as a formula are escaped with an apostrophe, also after a semicolon. Numbers stay numbers;
    null becomes an empty cell. The file is written completely or not at all.

    Args:
        table: columns of text, numbers or booleans.
        path: of the file.
    """
    with (
        replace_file(path) as temporary,
        temporary.open("w", encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([escape_formula(name) for name in table.column_names])
        for part in table.to_batches(max_chunksize=4096):
            columns = [[_cell(value) for value in column.to_pylist()] for column in part.columns]
            writer.writerows(zip(*columns, strict=True))


_FORMULA: Final = f"'*[ \u00a0]*[{re.escape(''.join(FORMULA_STARTS))}]"
"""What an apostrophe is put in front of; apostrophes that are already there count, so that `unescape_formula` works."""

_START: Final = re.compile(_FORMULA)
_AFTER_SEPARATOR: Final = re.compile(f"([;\t][ \u00a0]*)(?={_FORMULA})")
_ESCAPED_START: Final = re.compile(f"'(?={_FORMULA})")
_ESCAPED_AFTER_SEPARATOR: Final = re.compile(f"([;\t][ \u00a0]*)'(?={_FORMULA})")


def escape_formula(text: str) -> str:
    """Put an apostrophe in front of everything in a text that a spreadsheet program may take for a formula.

    In some countries, programs also split cells at semicolons, so a formula may start after one.
    """
    text = _AFTER_SEPARATOR.sub(r"\1'", text)
    return f"'{text}" if _START.match(text) else text


def unescape_formula(text: str) -> str:
    """Remove the apostrophes that `escape_formula` put into a text."""
    if _ESCAPED_START.match(text):
        text = text[1:]
    return _ESCAPED_AFTER_SEPARATOR.sub(r"\1", text)


def flatten_lists(table: pa.Table) -> pa.Table:
    """The table for a spreadsheet: each list as one text, numbers to four decimal places."""
    for at, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            table = table.set_column(at, field.name, pc.binary_join(table[field.name], "; "))
        elif pa.types.is_floating(field.type):
            table = table.set_column(at, field.name, pc.round(table[field.name], 4))
    return table


def format_rows(rows: Iterable[Iterable[object]]) -> str:
    """Rows as lines of CSV (RFC 4180), with texts escaped as in `write_csv`; None becomes an empty cell."""
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows([_cell(value) for value in row] for row in rows)
    return lines.getvalue()


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    return escape_formula(str(value))
