"""Records of a text table, as a stream: in bounded memory, every record is either read or refused by its line."""

import codecs
import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from herbray.data.sources.darwin_core.archive.layout import Dialect

MAX_RECORD_BYTES: Final = 1 << 20
"""A longer record is refused: it is a broken file, or a quotation mark that nothing closes."""

MAX_RECORD_LINES: Final = 1000
"""A record in more lines is refused."""

_MIN_SWALLOWED_WIDTH: Final = 10  # fields; in narrower tables a line of prose may look like a record
_WIDE_CODE_UNITS: Final = ("utf-16", "utf-32")

Reject: TypeAlias = Callable[[int, str, str], None]
"""`reject(line, reason, detail)`: called for a record that cannot be read; lines count from 1."""

Record: TypeAlias = tuple[int, list[str]]
"""Number of the first line, and the fields."""


def split_records(chunks: Iterable[bytes], dialect: Dialect, min_width: int, reject: Reject) -> Iterator[Record]:
    """Split a file into records.

    All records have as many fields as the first one, or as `min_width` if that is more. The first record may be a
    header, which is also yielded. Refused are records with another number of fields ("fields"), text that is not in
    the declared encoding ("encoding"), NUL characters ("nul"), records over `MAX_RECORD_BYTES` ("too_long"), and
    quotation marks that are not closed, not doubled, or that close in a later record ("quotes"). After a refusal,
    reading goes on in the next line. Empty lines are skipped.

    Args:
        chunks: of the file.
        dialect: of its text.
        min_width: smallest number of fields.
        reject: receives what is refused.
    """
    lines = _Lines(chunks, dialect, reject)
    parse = _parse_quoted if dialect.quote else _parse_plain
    width = 0
    for number, text in lines:
        if not text:
            continue
        fields = parse(lines, number, text, dialect, width)
        if fields is None:
            continue
        width = width or max(len(fields), min_width)
        if len(fields) == width:
            yield number, fields
        else:
            reject(number, "fields", f"the record has {len(fields)} fields where {width} are expected")


def _parse_plain(lines: "_Lines", number: int, text: str, dialect: Dialect, width: int) -> list[str] | None:
    return text.split(dialect.delimiter)


def _parse_quoted(lines: "_Lines", number: int, text: str, dialect: Dialect, width: int) -> list[str] | None:
    """Parse a record that may be in several lines; None if it was refused."""
    if dialect.quote not in text:
        return text.split(dialect.delimiter)
    taken = [(number, text)]
    fault = "a quotation mark is not closed"
    try:
        reader = csv.reader(
            _feed(lines, taken), delimiter=dialect.delimiter, quotechar=dialect.quote, doublequote=True, strict=True
        )
        fields = next(reader)
        if len(taken) == 1 or (len(fields) == (width or len(fields)) and not _swallows(taken, dialect, width)):
            return fields
    except csv.Error as error:
        fault = f"quotation marks inside a field are not doubled, or the last one is missing ({error})"
    lines.push_back(taken[1:])
    lines.reject(number, "quotes", fault)
    return None


def _feed(lines: "_Lines", taken: list[tuple[int, str]]) -> Iterator[str]:
    """Give the CSV parser the lines of a record, as many as it asks for within the limits."""
    yield taken[0][1] + "\n"
    length = len(taken[0][1])
    while length <= MAX_RECORD_BYTES and len(taken) < MAX_RECORD_LINES:
        following = next(lines, None)
        if following is None:
            return
        taken.append(following)
        length += len(following[1])
        yield following[1] + "\n"


def _swallows(taken: list[tuple[int, str]], dialect: Dialect, width: int) -> bool:
    """Whether lines that were read as one record look like whole records themselves."""
    whole = [text.count(dialect.delimiter) >= width - 1 for _, text in taken]
    return width >= _MIN_SWALLOWED_WIDTH and (all(whole) or any(whole[1:-1]))


class _Lines:
    """The lines of a file, decoded, with numbers from 1; lines that cannot be decoded are refused."""

    def __init__(self, chunks: Iterable[bytes], dialect: Dialect, reject: Reject) -> None:
        wide = dialect.encoding.startswith(_WIDE_CODE_UNITS)
        self.encoding = "utf-8" if wide else dialect.encoding
        self.reject = reject
        end = "\n" if "\n" in dialect.line_end else dialect.line_end
        self._trim = b"\r" if end == "\n" else b""
        recoded = _recode(chunks, dialect.encoding) if wide else chunks
        self._source = enumerate(_split_lines(recoded, end.encode(self.encoding, "replace")), start=1)
        self._waiting: list[tuple[int, str]] = []

    def push_back(self, lines: list[tuple[int, str]]) -> None:
        """Read these lines again, before the others."""
        self._waiting.extend(reversed(lines))

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> tuple[int, str]:
        if self._waiting:
            return self._waiting.pop()
        for number, line in self._source:
            text = self._decode(number, line)
            if text is not None:
                return number, text
        raise StopIteration

    def _decode(self, number: int, line: bytes | None) -> str | None:
        """The text of a line; None if it was refused."""
        if line is None:
            self.reject(number, "too_long", f"the record has more than {MAX_RECORD_BYTES:,} bytes")
            return None
        try:
            text = line.removesuffix(self._trim).decode(self.encoding)
        except UnicodeDecodeError as error:
            guess = line[max(0, error.start - 20) : error.start + 20].decode("cp1252", "replace")
            detail = f"not {self.encoding}, which is declared ({error.reason}); as cp1252 it would read {guess!r}: "
            self.reject(number, "encoding", detail + "if this is right, set source.encoding=cp1252")
            return None
        if number == 1:
            text = text.removeprefix("\ufeff")
        if "\0" in text:
            self.reject(number, "nul", "the record contains a NUL character")
            return None
        return text


def _split_lines(chunks: Iterable[bytes], end: bytes) -> Iterator[bytes | None]:
    """Split bytes at the line ends; None stands for a line of more than `MAX_RECORD_BYTES`."""
    rest, too_long = b"", False
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(end)
        for line in lines:
            yield None if too_long or len(line) > MAX_RECORD_BYTES else line
            too_long = False
        if len(rest) > MAX_RECORD_BYTES:
            too_long, rest = True, rest[-len(end) :]
    if rest or too_long:
        yield None if too_long else rest


def _recode(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The same text in UTF-8; units that are no characters become U+FFFD.

    Without a byte order mark, the units are little-endian, as Windows writes them.
    """
    pieces = iter(chunks)
    first = next(pieces, b"")
    has_mark = first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
    known = encoding if has_mark or encoding not in _WIDE_CODE_UNITS else f"{encoding}-le"
    decoder = codecs.getincrementaldecoder(known)("replace")
    for chunk in itertools.chain([first], pieces):
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
