"""A run folder: the run that it belongs to now, and the settings that each of its runs started with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from herbray import storage
from herbray.flow.training.runs.identity import Settings

CLAIM: Final = "run.json"
"""File that names the run whose metrics a run folder shows, and the settings of all its runs."""

TRAINED: Final = "trained.json"
"""File that names the registered version of a run folder's encoder; written last."""

METRICS: Final = "metrics.jsonl"


@dataclass(frozen=True)
class Runs:
    """The runs of a folder.

    Attributes:
        now: name of the run that the folder belongs to; None if there is none yet.
        settings: of each run, by its name; runs of earlier versions have none.
    """

    now: str | None = None
    settings: Mapping[str, Settings] = field(default_factory=dict)


def describe_remedy(out: Path) -> str:
    """The command that repairs a damaged note of a run folder."""
    return f"run `herbray train` with out={out} again: it writes this file anew and does not repeat what was trained"


def read_runs(out: Path) -> Runs:
    """Read which runs a folder has held."""
    file = out / CLAIM
    if not storage.is_file(file):
        return Runs()
    if former := _of_an_earlier_version(file):
        return Runs(former)
    note = storage.read_note(file, f"remove it, and {describe_remedy(out)}")
    return Runs(note["run"], note["settings"])


def _of_an_earlier_version(file: Path) -> str | None:
    """The run named by a note of a version that did not keep settings."""
    try:
        tree = json.loads(storage.read_bytes(file))
    except ValueError:
        return None
    return str(tree["run"]) if isinstance(tree, dict) and tree.keys() == {"run"} else None


def claim(out: Path, name: str, settings: Settings) -> None:
    """Give a run folder to a run: another run's metrics are renamed, and the run's own are brought back."""
    held, metrics, own = read_runs(out), out / METRICS, metrics_of(out, name)
    if held.now != name:
        if held.now is not None and storage.is_file(metrics):
            storage.rename(metrics, metrics_of(out, held.now))
        storage.remove(metrics)  # it is unknown whose they are
        storage.remove(out / TRAINED)  # the folder shows no version until this run has ended
    if held.now != name or held.settings.get(name) != settings:
        note = {"run": name, "settings": {**held.settings, name: settings}}
        storage.write_note(out / CLAIM, note)
    if storage.is_file(own) and not storage.is_file(metrics):
        storage.rename(own, metrics)


def metrics_of(out: Path, name: str) -> Path:
    """The metrics of a run while the folder belongs to another."""
    return out / f"metrics-{name}.jsonl"
