"""A run folder: which run has it now, and with which settings each of its runs was begun."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from herbray import storage
from herbray.flow.training.runs.identity import Settings

CLAIM: Final = "run.json"
"""Which run's figures and checkpoints a run folder holds, and the settings of all its runs."""

TRAINED: Final = "trained.json"
"""Which version a run folder's encoder is; written last."""

METRICS: Final = "metrics.jsonl"


@dataclass(frozen=True)
class Runs:
    """The runs of a folder.

    Attributes:
        now: the name of the one that has the folder; None where there is none yet.
        settings: of each, by its name; runs of earlier versions have none.
    """

    now: str | None = None
    settings: Mapping[str, Settings] = field(default_factory=dict)


def remedy(out: Path) -> str:
    """What to do about a damaged note of a run folder."""
    return f"run `herbray train` with out={out} again: it writes this file anew and does not repeat what was trained"


def runs(out: Path) -> Runs:
    """The runs that a folder has held."""
    file = out / CLAIM
    if not file.exists():
        return Runs()
    if former := _of_an_earlier_version(file):
        return Runs(former)
    note = storage.read_note(file, f"remove it, and {remedy(out)}")
    return Runs(note["run"], note["settings"])


def _of_an_earlier_version(file: Path) -> str | None:
    """The run in a note that was written before settings were kept."""
    try:
        tree = json.loads(file.read_bytes())
    except ValueError:
        return None
    return str(tree["run"]) if isinstance(tree, dict) and tree.keys() == {"run"} else None


def claim(out: Path, name: str, settings: Settings) -> None:
    """Make a run folder that run's: figures of another are put aside under its name, its own are brought back."""
    held, metrics, own = runs(out), out / METRICS, metrics_of(out, name)
    if held.now != name:
        if metrics.exists() and held.now is not None:
            metrics.replace(metrics_of(out, held.now))
        metrics.unlink(missing_ok=True)  # whose they are is not known
        (out / TRAINED).unlink(missing_ok=True)  # until this run has ended, too, the folder shows none
    if held.now != name or held.settings.get(name) != settings:
        note = {"run": name, "settings": {**held.settings, name: settings}}
        storage.write_note(out / CLAIM, note)
    if own.exists() and not metrics.exists():
        own.replace(metrics)


def metrics_of(out: Path, name: str) -> Path:
    """Where the figures of a run are while another has the folder."""
    return out / f"metrics-{name}.jsonl"
