"""What became of each image, kept in journals: a run that is killed loses nothing, and the next one goes on.

A process that fetches writes a journal of its own, one line of JSON per image; the last line on an image counts. A line
that a killed process left unfinished is not counted. In a bucket, where no file can grow, a journal is written in
parts.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Final

from herbray import storage

_PART_S: Final = 30.0  # of a journal in a bucket: so much work is done again at most
_ENDING: Final = ".jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """What became of an image.

    Attributes:
        image: its address, as the catalogue has it.
        reason: why it was refused, as a short code; empty: it was fetched.
        detail: the reason as a sentence.
        passing: whether a later run asks again.
        file: relative to the folder; named by its content.
        bytes: size of the file.
        format: "JPEG", "PNG", "TIFF" or "WEBP".
        width: of the image, in pixels.
        height: of the image, in pixels.
        request: the address that was asked for, before redirects.
        side: pixels of the short side that were asked of a IIIF server; 0: the image has one size.
        etag: header of the reply, for a conditional request.
        modified: header Last-Modified of the reply.
        fetched_at: seconds since 1970.
        checked_at: when the server last said that this is its image, in seconds since 1970.
    """

    image: str
    reason: str = ""
    detail: str = ""
    passing: bool = False
    file: str = ""
    bytes: int = 0
    format: str = ""
    width: int = 0
    height: int = 0
    request: str = ""
    side: int = 0
    etag: str = ""
    modified: str = ""
    fetched_at: float = 0.0
    checked_at: float = 0.0


_NAMES: Final = frozenset(each.name for each in fields(Record))


class Journal:
    """The journal of one process; use it as a context manager."""

    def __init__(self, folder: Path, name: str) -> None:
        """Start a journal with a name that no other has; `new_name` makes one that sorts after earlier ones."""
        self._folder, self._name = folder, name
        self._file: IO[str] | None = None
        self._lines: list[str] = []
        self._parts, self._since = 0, time.monotonic()

    def __enter__(self) -> "Journal":
        """Open the file."""
        if not storage.is_remote(self._folder):
            storage.make_folder(self._folder)
            self._file = (self._folder / f"{self._name}{_ENDING}").open("x", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left, and close the file."""
        self._write_part()
        if self._file:
            self._file.close()

    def append(self, record: Record) -> None:
        """Add a record. It is kept even if this process is killed."""
        line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
        if self._file:
            self._file.write(line)
            self._file.flush()
            return
        self._lines.append(line)
        if time.monotonic() - self._since > _PART_S:
            self._write_part()

    def _write_part(self) -> None:
        if self._lines:
            storage.write_text(self._folder / f"{self._name}-{self._parts:06d}{_ENDING}", "".join(self._lines))
            self._lines, self._parts = [], self._parts + 1
        self._since = time.monotonic()


def new_name(group: int) -> str:
    """The name of a journal that starts now; of two, that of the later one sorts last."""
    return f"{time.time_ns():020d}-{group:04d}"


def read_records(folder: Path, since: str = "") -> dict[str, Record]:
    """Address → last record of each image, from all journals of a folder, or those that started `since` another."""
    found: dict[str, Record] = {}
    for path in storage.glob(folder, f"*{_ENDING}"):
        if path.name < since:
            continue
        for line in storage.read_bytes(path).split(b"\n"):
            if record := _read_line(line):
                found[record.image] = record
    return found


def compact(folder: Path, records: Iterable[Record]) -> None:
    """Write the last records as one journal, and remove the others."""
    older = storage.glob(folder, f"*{_ENDING}")
    lines = "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)
    storage.write_text(folder / f"{new_name(0)}{_ENDING}", lines)
    for path in older:
        storage.remove(path)


def _read_line(line: bytes) -> Record | None:
    try:
        values = json.loads(line)
        return Record(**values) if isinstance(values, dict) and values.keys() <= _NAMES and values["image"] else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
