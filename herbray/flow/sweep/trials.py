"""What became of a sweep's trials, kept in files: a sweep that is interrupted at any moment loses nothing.

Each trial has a folder `trials/NNN` with `trial.json` (its values and how it ended) and `metrics.jsonl` (what its
training reported). All figures are read from the latter.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from herbray import storage, tables
from herbray.flow.sweep.search_space import Choice, LogUniform, Space, Uniform, Value
from herbray.flow.training.metrics_log import read_metrics
from herbray.schema import TRIAL

Status = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial and its figures.

    Attributes:
        number: from 0; the trial's name.
        values: settings by dotted path.
        status: "running" also means interrupted: the same command goes on with it.
        cause: why it failed.
        run_id: of its tracking run.
        epochs: that it has trained.
        score: k-NN genus accuracy of validation: the best, or the last where that checkpoint is kept; None before any.
        seconds: in training steps.
    """

    number: int
    values: Mapping[str, Value]
    status: Status = "running"
    cause: str = ""
    run_id: str = ""
    epochs: float = 0.0
    score: float | None = None
    seconds: float = 0.0

    @property
    def scored(self) -> bool:
        """Whether it may be the best one."""
        return self.status in ("finished", "stopped") and self.score is not None


class Ledger:
    """All trials of a sweep's folder."""

    def __init__(self, out: Path, keep: Literal["best", "last"]) -> None:
        """`keep` as in `Train`: whose checkpoint counts."""
        self.out, self.keep = out, keep

    def folder(self, number: int) -> Path:
        """Where a trial writes."""
        return self.out / "trials" / f"{number:03d}"

    def write(self, trial: Trial) -> Trial:
        """Note a trial's values, status and cause at once; returns it with its figures."""
        folder = self.folder(trial.number)
        noted = {"number": trial.number, "values": dict(trial.values), "status": trial.status}
        noted |= {"cause": trial.cause, "run_id": trial.run_id}
        storage.write_note(folder / "trial.json", noted)
        return self._figured(trial)

    def read(self) -> dict[int, Trial]:
        """Every trial that was begun, by number."""
        notes = [_noted(file) for file in self.out.glob("trials/*/trial.json")]
        return {note.number: self._figured(note) for note in sorted(notes, key=lambda note: note.number)}

    def begun(self, number: int) -> Trial:
        """A trial as it was noted, without figures."""
        return _noted(self.folder(number) / "trial.json")

    def metrics(self, number: int) -> Path:
        """Where a trial's training reports to."""
        return self.folder(number) / "metrics.jsonl"

    def reports(self, number: int) -> list[dict[str, float]]:
        """What a trial's training reported, in order."""
        return read_metrics(self.metrics(number))

    def prune(self, trials: Iterable[Trial], spare: int | None = None) -> None:
        """Remove checkpoints of trials that ended and are not the best; each holds as much as three encoders."""
        trials = list(trials)
        leader = best(trials)
        for trial in trials:
            if trial.status != "running" and trial is not leader and trial.number != spare:
                for name in ("checkpoints", "ray"):
                    shutil.rmtree(self.folder(trial.number) / name, ignore_errors=True)

    def _figured(self, trial: Trial) -> Trial:
        reports = self.reports(trial.number)
        scores = [row["val_knn"] for row in reports if "val_knn" in row]
        score = (max(scores) if self.keep == "best" else scores[-1]) if scores else None
        return replace(
            trial,
            epochs=max((row["epoch"] for row in reports), default=0.0),
            score=score,
            seconds=_seconds(reports),
        )


def best(trials: Iterable[Trial]) -> Trial | None:
    """The trial with the highest score, the first of equals; None where none has a score."""
    return max((t for t in trials if t.scored), key=lambda t: (t.score, -t.number), default=None)


def table(trials: Sequence[Trial], space: Space) -> pa.Table:
    """Trials as rows of `schema.TRIAL` and, after those, a column for each path of the space."""
    fixed = [pa.array([getattr(t, field.name) for t in trials], field.type) for field in TRIAL]
    paths = [pa.array(*_column([t.values.get(path) for t in trials], space[path])) for path in space]
    fields = [*TRIAL, *(pa.field(path, column.type) for path, column in zip(space, paths, strict=True))]
    return pa.Table.from_arrays([*fixed, *paths], schema=pa.schema(fields))


def write_table(trials: Sequence[Trial], space: Space, path: Path) -> None:
    """Write `table`, whole or not at all."""
    tables.write(path, table(trials, space))


def _noted(file: Path) -> Trial:
    way_out = f"remove {file.parent} and run the same `herbray tune` again: this trial begins anew"
    return Trial(**storage.read_note(file, way_out))


def _column(values: Sequence[Value], given: object) -> tuple[list[Value], pa.DataType]:
    """A path's values and their type: numbers where all choices are numbers, else text as YAML writes it."""
    if isinstance(given, Uniform | LogUniform):
        return list(values), pa.float64()
    if not isinstance(given, Choice) or all(type(value) is int for value in given.values):
        return list(values), pa.int64()
    if all(type(value) in (int, float) for value in given.values):
        return list(values), pa.float64()
    return [value if isinstance(value, str) else json.dumps(value) for value in values], pa.string()


def _seconds(reports: Sequence[Mapping[str, float]]) -> float:
    """Time in training steps, from each report's images and rate."""
    before, total = 0.0, 0.0
    for row in reports:
        total += (row["images"] - before) / row["images_per_s"]
        before = row["images"]
    return total
