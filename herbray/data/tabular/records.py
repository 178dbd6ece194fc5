"""The records of a delimited text (RFC 4180), where a stray quote spoils its own line and not the rest of the file."""

import csv
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

Report: TypeAlias = Callable[[int, str, str], None]
"""`report(line, reason, detail)`: a row that cannot be used; `reason` is a short stable code."""

Record: TypeAlias = tuple[int, list[str]]
"""Number of a record's first line, from 1, and its fields."""

MAX_LINES: Final = 200
"""Number of lines that a record may span through line breaks in quotes."""

BLANK: Final = "blank"
"""The reason of a row without any text: it is skipped, not refused."""


def read_records(lines: Iterable[str], separator: str, report: Report, first_line: int = 1) -> Iterator[Record]:
    """Split lines into records; the first is the header, and all have as many fields as the header.

    Empty fields at the end of a record are added or dropped as far as the header's own empty fields allow. Reported: a
    record with too few or too many fields ("fields"), quotes that do not match ("quote"), an empty row (`BLANK`). If
    a field with a quote would swallow lines, only its first line is refused, and reading goes on at the next one.

    Args:
        lines: with their ends.
        separator: of the fields.
        report: receives what is not yielded.
        first_line: number of the first line in its file.
    """
    source = _Lines(lines, first_line)
    reader = csv.reader(source, delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        number = source.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            report(number, "quote", f"{_explain(error)}; look for a quote that is not closed or not doubled")
            source.give_back()
            continue
        if not any(map(str.strip, fields)):
            report(number, BLANK, "an empty row")
        elif header is None:
            header = _drop_blank_end(fields)
            yield number, header
        elif (fitted := fit(fields, len(header))) is not None:
            yield number, fitted
        else:
            report(number, "fields", f"{len(fields)} fields where the header has {len(header)}")
            source.give_back()


def fit(fields: Sequence[str], width: int) -> list[str] | None:
    """Return a record's first `width` fields if all fields after them are empty; None if it has fewer."""
    if len(fields) < width or any(map(str.strip, itertools.islice(fields, width, None))):
        return None
    return list(fields[:width])


def _drop_blank_end(fields: list[str]) -> list[str]:
    kept = len(fields)
    while not fields[kept - 1].strip():
        kept -= 1
    return fields[:kept]


class _TooLong(Exception):
    """A record spans more lines than any real one."""


class _Lines:
    """Numbered lines for a reader of records; the lines after a record's first can be given back."""

    def __init__(self, lines: Iterable[str], first_line: int) -> None:
        self._lines = iter(lines)
        self._returned: deque[str] = deque()
        self._taken: list[str] = []
        self._next = first_line

    def begin(self) -> int:
        """Begin a record; returns the number of its first line."""
        self._next += len(self._taken)
        self._taken.clear()
        return self._next

    def give_back(self) -> None:
        """Give back all lines of the record but its first."""
        self._returned.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self._taken) >= MAX_LINES:
            raise _TooLong
        line = self._returned.popleft() if self._returned else next(self._lines)
        self._taken.append(line)
        return line


def _explain(error: Exception) -> str:
    return (
        f"a quoted field of more than {MAX_LINES} lines" if isinstance(error, _TooLong) else f"malformed CSV ({error})"
    )
