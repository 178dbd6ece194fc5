"""Files of verdicts: CSV as herbray, the review page or a person with a spreadsheet program wrote it."""

import codecs
import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from herbray import storage
from herbray.schema import RANKS, VERDICT
from herbray.spreadsheet import unescape_formula

JUDGEMENTS: Final = ("wrong", "right", "maybe", "open")
"""What a reviewer may decide about a name; "open" withdraws an earlier verdict."""

_REQUIRED: Final = ("specimen_id", "rank", "given", "verdict")
_DELIMITERS: Final = ",;\t"
_MARKS: Final = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_MOST_CHARACTERS: Final = 10_000_000  # of a cell


def read_verdicts(path: Path) -> pa.Table:
    """Read all verdicts of a file, or of the CSV files in a folder.

    The columns may be in any order; those that are not in `schema.VERDICT` are ignored, and only `specimen_id`,
    `rank`, `given` and `verdict` must be there. Cells are separated by commas, semicolons or tabs. Texts are UTF-8, or
    UTF-16 with a byte order mark.

    Returns:
        `schema.VERDICT`, the oldest first; a row that several files hold, only once. Empty if the folder holds no file
        or does not exist.

    Raises:
        ValueError: a file cannot be read; the message names the line and what to do.
    """
    files = [path] if path.suffix == ".csv" else storage.glob(path, "*.csv")
    rows: dict[str, dict[str, str | None]] = {}
    for file in files:
        for row in _read_file(file):
            rows.setdefault(str(row["id"]), row)
    return pa.Table.from_pylist(sorted(rows.values(), key=lambda row: _parse_time(str(row["at"]))), schema=VERDICT)


def _parse_time(text: str) -> datetime:
    """A time of a row; without a time zone it is UTC, and no time is before all others."""
    time = datetime.fromisoformat(text) if text else datetime.min
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _read_file(path: Path) -> Iterator[dict[str, str | None]]:
    try:
        text = _decode(path, storage.read_bytes(path))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give a CSV file or a folder of them") from None
    if not text.strip():
        return
    csv.field_size_limit(_MOST_CHARACTERS)
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(lines)]
        _check_header(path, header)
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield _parse_row(f"{path}, line {lines.line_num}", header, cells)
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num}: {error}; save the table as CSV (UTF-8) again") from None


def _decode(path: Path, data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not {encoding} text; names in another encoding would be other names: "
            'save the table as "CSV UTF-8"'
        ) from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in _REQUIRED if name not in header]
    repeated = {name for name in header if name in VERDICT.names and header.count(name) > 1}
    if missing or repeated:
        fault = f"no column {', '.join(missing)}" if missing else f"column {', '.join(sorted(repeated))} twice"
        raise ValueError(
            f"{path}, line 1: {fault}; a table of verdicts begins with the names of its columns, such as "
            f"{','.join(VERDICT.names)}"
        )


def _parse_row(where: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, str | None]:
    """A row in the columns of `schema.VERDICT`.

    Raises:
        ValueError: a cell is missing, or holds what no verdict holds.
    """
    if len(cells) != len(header):
        raise ValueError(
            f"{where}: {len(cells)} cells, but {len(header)} columns; complete the row, or remove it if its writer was "
            "interrupted"
        )
    known = dict.fromkeys(VERDICT.names, "") | dict(zip(header, map(unescape_formula, cells), strict=True))
    row = {name: known[name] for name in VERDICT.names}
    row["verdict"], row["rank"] = row["verdict"].strip().lower(), row["rank"].strip().lower()
    _check_cells(where, row)
    row["id"] = row["id"].strip() or name_row(row)
    return {name: value if value or not VERDICT.field(name).nullable else None for name, value in row.items()}


def _check_cells(where: str, row: Mapping[str, str]) -> None:
    for name in ("specimen_id", "given"):
        if not row[name].strip():
            raise ValueError(f"{where}: {name} is empty; fill it in, or remove the row")
    for name, values in (("verdict", JUDGEMENTS), ("rank", RANKS)):
        if row[name] not in values:
            raise ValueError(f"{where}: {name} {row[name][:40]!r} is none of {', '.join(values)}")
    try:
        _parse_time(row["at"])
    except ValueError:
        raise ValueError(
            f"{where}: at {row['at'][:40]!r} is not a time like 2026-03-01T09:30:00.000Z, and the order of "
            "verdicts follows from it; format the column as text, or leave the cell empty if the verdict is the oldest"
        ) from None


def name_row(row: Mapping[str, str | None]) -> str:
    """The id of a row that has none: a digest of its cells."""
    text = "\x1f".join(row[name] or "" for name in VERDICT.names if name != "id")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
