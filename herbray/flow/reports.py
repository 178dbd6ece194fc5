"""A training run's reports as a file of JSON lines: the learning curves, and what the tracking store has yet to hear."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

TIME = "time"
"""Key of a line: when it was written, in seconds since 1970."""


def append(path: Path, figures: Mapping[str, float]) -> None:
    """Add one report to the file."""
    line = json.dumps({TIME: time.time()} | {name: float(value) for name, value in figures.items()})
    with path.open("ab") as file:
        whole = file.tell() == 0 or _ends_a_line(path)
        file.write(f"{'' if whole else chr(10)}{line}\n".encode())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Reports of a run, in order; a resumed run's repeated ones only once, the later one."""
    return [{name: value for name, value in row.items() if name != TIME} for row in read_timed(path)]


def read_timed(path: Path) -> list[dict[str, float]]:
    """`read_metrics` with the time of each; a line that was cut short, as its writer was killed, is left out."""
    rows: dict[float, dict[str, float]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["images"]] = row
    return [rows[key] for key in sorted(rows)]


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
