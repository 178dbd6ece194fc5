"""A training run's reports as a file of JSON lines: the learning curves, and what the progress bar reads."""

import json
from collections.abc import Mapping
from pathlib import Path


def append(path: Path, figures: Mapping[str, float]) -> None:
    """Add one report to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: float(value) for name, value in figures.items()}) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Reports of a run, in order; a resumed run's repeated ones only once, the later one."""
    rows: dict[float, dict[str, float]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["images"]] = row
    return [rows[key] for key in sorted(rows)]
