"""The metrics of a training run as a file of JSON lines, from which curves are drawn and MLflow is updated."""

import json
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from herbray import storage
from herbray.disk import DISK_ERRNOS

_log = logging.getLogger(__name__)

TIME: Final = "time"
"""Key of a line: when it was written, in seconds since 1970."""

CHECKSUM: Final = "crc32"
"""Key of a line: the checksum of its other keys."""


class MetricsLog:
    """The metrics file of one run, to which each row is added once.

    A resumed run repeats the rows after its checkpoint. Rows are numbered by images seen, so a row that does not go
    beyond the last one is a repetition. While the disk is full, rows wait in memory: training continues.
    """

    def __init__(self, path: Path) -> None:
        """Open no file yet."""
        self.path = path
        self._last: float | None = None
        self._waiting: list[str] = []

    def add(self, figures: Mapping[str, float]) -> bool:
        """Add a row; returns False and writes nothing if the file has it already."""
        if self._last is None:
            self._last = max((row["images"] for row in read_metrics(self.path)), default=-1.0)
        if figures["images"] <= self._last:
            return False
        self._last = figures["images"]
        self._waiting.append(_line(figures))
        try:
            self.flush()
        except OSError as error:
            if error.errno not in DISK_ERRNOS:
                raise
            if len(self._waiting) == 1:
                _log.warning(
                    "%s: no space left (%s); metrics wait in memory, training continues", self.path, error.strerror
                )
        return True

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
            OSError: there is still no space.
        """
        if self._waiting:
            _append(self.path, self._waiting)
            self._waiting.clear()


def append_metrics(path: Path, figures: Mapping[str, float]) -> None:
    """Add one row to the file, on a new line even if a killed job left half a line."""
    _append(path, [_line(figures)])


def _line(figures: Mapping[str, float]) -> str:
    row = {TIME: time.time()} | {name: float(value) for name, value in figures.items()}
    return json.dumps({**row, CHECKSUM: _checksum(row)}) + "\n"


def _checksum(row: Mapping[str, float]) -> int:
    return zlib.crc32(json.dumps(row, sort_keys=True).encode())


def _append(path: Path, lines: Sequence[str]) -> None:
    """Write all lines or, on a full disk, perhaps some of them: a row that is written twice counts once."""
    text = "".join(lines)
    if storage.is_remote(path):  # an object is written anew
        before = storage.read_bytes(path) if storage.is_file(path) else b""
        storage.write_bytes(path, before + text.encode())
        return
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            text = text if file.read(1) == b"\n" else "\n" + text
        file.write(text.encode())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a run, in order; of two with the same number of images, the later one.

    Half a line, which a killed job leaves, is skipped; a damaged line is skipped with a warning that names it.
    """
    return [{name: value for name, value in row.items() if name != TIME} for row in read_metrics_with_times(path)]


def read_metrics_with_times(path: Path) -> list[dict[str, float]]:
    """`read_metrics`, with `TIME` in each row."""
    rows: dict[float, dict[str, float]] = {}
    if storage.is_file(path):
        for number, line in enumerate(storage.read_bytes(path).decode(errors="replace").splitlines(), 1):
            try:
                row = json.loads(line)
                checksum = row.pop(CHECKSUM, None)
                place = float(row["images"])
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if checksum != _checksum(row):
                _log.warning("%s, line %d: damaged or of an earlier version; it is left out", path, number)
                continue
            rows[place] = row
    return [rows[key] for key in sorted(rows)]


def step_seconds(rows: Sequence[Mapping[str, float]]) -> float:
    """Seconds spent in training steps, from the images and the rate of each row of a run."""
    before, total = 0.0, 0.0
    for row in rows:
        total += (row["images"] - before) / row["images_per_s"]
        before = row["images"]
    return total
