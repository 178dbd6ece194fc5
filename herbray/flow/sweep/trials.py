"""The trials of a sweep and their files, from which a sweep that was interrupted at any moment resumes without loss.

Each trial has a folder `trials/NNN` with `trial.json` (the trial's values and how it ended) and `metrics.jsonl` (the
metrics of its training). All figures of a trial are computed from `metrics.jsonl`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from herbray import storage, tables
from herbray.flow.sweep.search_space import Choice, LogUniform, Space, Uniform, Value
from herbray.flow.training.checkpoints.selection import Keep, rank_checkpoints
from herbray.flow.training.metrics_log import read_metrics, step_seconds
from herbray.schema import TRIAL

Status = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial and its figures.

    Attributes:
        number: number of the trial, from 0.
        values: settings by dotted path.
        status: "running" includes interrupted trials, which the same command resumes.
        cause: why the trial failed; "" if it did not.
        run_id: id of the MLflow run; "" before the run is complete.
        epochs: epochs trained so far.
        score: k-NN accuracy on validation of the checkpoint that `keep` chooses; None before the first.
        seconds: time spent in training steps.
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
    def is_ranked(self) -> bool:
        """Whether the trial has ended with a score, so that it can be the best one."""
        return self.status in ("finished", "stopped") and self.score is not None


class TrialFiles:
    """The files of all trials in a sweep's folder."""

    def __init__(self, out: Path, keep: Keep) -> None:
        """`keep` as in `Train`: which checkpoint, and so which score, counts."""
        self.out, self.keep = out, keep

    def folder(self, number: int) -> Path:
        """The folder of a trial."""
        return self.out / "trials" / f"{number:03d}"

    def write(self, trial: Trial) -> Trial:
        """Write `trial.json` in one step; returns the trial with its figures."""
        note = {"number": trial.number, "values": dict(trial.values), "status": trial.status}
        note |= {"cause": trial.cause, "run_id": trial.run_id}
        storage.write_note(self.folder(trial.number) / "trial.json", note)
        return self._with_figures(trial)

    def read(self) -> dict[int, Trial]:
        """Read every trial that was started, by number."""
        trials = [_read_note(file) for file in storage.glob(self.out, "trials/*/trial.json")]
        return {trial.number: self._with_figures(trial) for trial in sorted(trials, key=lambda trial: trial.number)}

    def read_one(self, number: int) -> Trial:
        """Read one trial, without its figures."""
        return _read_note(self.folder(number) / "trial.json")

    def metrics_path(self, number: int) -> Path:
        """The file to which a trial's training writes its metrics."""
        return self.folder(number) / "metrics.jsonl"

    def read_metrics(self, number: int) -> list[dict[str, float]]:
        """The rows of a trial's metrics, in order."""
        return read_metrics(self.metrics_path(number))

    def prune_checkpoints(self, trials: Iterable[Trial], spare: int | None = None) -> None:
        """Remove the checkpoints of trials that have ended, except the best trial's and those of `spare`.

        A checkpoint is three times as large as an encoder.
        """
        trials = list(trials)
        leader = best_trial(trials)
        for trial in trials:
            if trial.status != "running" and trial is not leader and trial.number != spare:
                for name in ("checkpoints", "ray"):
                    storage.remove_folder(self.folder(trial.number) / name)

    def _with_figures(self, trial: Trial) -> Trial:
        rows = self.read_metrics(trial.number)
        scored = [row for row in rows if "val_knn" in row]
        score = scored[rank_checkpoints(scored, self.keep)[-1]]["val_knn"] if scored else None
        return replace(
            trial,
            epochs=max((row["epoch"] for row in rows), default=0.0),
            score=score,
            seconds=step_seconds(rows),
        )


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """The trial with the highest score, the first one if several are equal; None if no trial has a score."""
    return max((t for t in trials if t.is_ranked), key=lambda t: (t.score, -t.number), default=None)


def to_table(trials: Sequence[Trial], space: Space) -> pa.Table:
    """Trials as a table with the columns of `schema.TRIAL` and a further column for each path of the space."""
    fixed = [pa.array([getattr(t, field.name) for t in trials], field.type) for field in TRIAL]
    paths = [pa.array(*_to_column([t.values.get(path) for t in trials], space[path])) for path in space]
    fields = [*TRIAL, *(pa.field(path, column.type) for path, column in zip(space, paths, strict=True))]
    return pa.Table.from_arrays([*fixed, *paths], schema=pa.schema(fields))


def write_table(trials: Sequence[Trial], space: Space, path: Path) -> None:
    """Write the table of `to_table` in one step."""
    tables.write(path, to_table(trials, space))


def _read_note(file: Path) -> Trial:
    way_out = f"remove {file.parent} and run the same `herbray tune` again: this trial starts from the beginning"
    return Trial(**storage.read_note(file, way_out))


def _to_column(values: Sequence[Value], given: object) -> tuple[list[Value], pa.DataType]:
    """A path's values and their type: numbers if all choices are numbers, else text as in YAML."""
    if isinstance(given, Uniform | LogUniform):
        return list(values), pa.float64()
    if not isinstance(given, Choice) or all(type(value) is int for value in given.values):
        return list(values), pa.int64()
    if all(type(value) in (int, float) for value in given.values):
        return list(values), pa.float64()
    return [value if isinstance(value, str) else json.dumps(value) for value in values], pa.string()
