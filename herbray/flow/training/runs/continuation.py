"""How a training resumes from what its run folder holds: its own run, a run of fewer epochs, or nothing, and why."""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Final

from herbray import storage
from herbray.flow.training.checkpoints.directory import checkpoint_directory, copy_folder
from herbray.flow.training.runs.folder import METRICS, Runs, metrics_of, read_runs
from herbray.flow.training.runs.identity import Settings, run_name, run_settings
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import TrainingData, plan_windows
from herbray.model.sealed_folder import SEAL_FILE
from herbray.settings.marks import Role, role_at

_SHOWN: Final = 4
"""Most changed settings that a line lists."""

_log = logging.getLogger(__name__)


def continue_run(spec: Train, data: TrainingData) -> Train:
    """Find the run in the job's folder that the job resumes, before the job claims the folder.

    A run that differs in a smaller `epochs` alone is resumed if the result is the same as that of training for so many
    epochs from the start. Otherwise, and if the folder holds another run, a warning says why training starts over.

    Args:
        spec: of the job.
        data: what its shards say.

    Returns:
        The job, with the validation settings that its run began with: figures of one run are compared with each other.

    Raises:
        ValueError: bad input.
        OSError: no room for the checkpoints that are taken over.
    """
    held, name = read_runs(spec.out), run_name(spec)
    if name in held.settings:
        return _measured_as_begun(spec, held.settings[name])
    former = _find_shorter_run(spec, data, held)
    if former is None:
        return spec
    _take_over(spec, held, former, name)
    return _measured_as_begun(spec, held.settings[former])


def list_changes(spec: Train, before: Settings, *roles: Role | None) -> dict[str, str]:
    """Settings that differ from those of an earlier run: path → "epochs 25 → 30".

    Args:
        spec: of the job.
        before: settings of the earlier run.
        roles: of the settings to compare; None stands for settings that change what is learned.
    """
    now = run_settings(spec)
    pairs = {path: (_text(before, path), _text(now, path)) for path in {**now, **before}}
    return {
        path: f"{path} {old} → {new}"
        for path, (old, new) in pairs.items()
        if old != new and role_at(spec, path) in roles
    }


def join_changes(changed: Mapping[str, str]) -> str:
    """The first few of `changes`, and how many more there are."""
    first = ", ".join([*changed.values()][:_SHOWN])
    return first + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")


def print_line(line: str) -> None:
    """Tell the user how a job resumes."""
    print(line, file=sys.stderr, flush=True)


def _text(tree: Settings, path: str) -> str:
    value = tree.get(path, "absent")
    return value if isinstance(value, str) else json.dumps(value)


def _find_shorter_run(spec: Train, data: TrainingData, held: Runs) -> str | None:
    """The run of fewer epochs to resume; if there is none and the folder holds a run, a warning says why."""
    shorter = {name: before["epochs"] for name, before in held.settings.items() if _is_shorter(spec, before)}
    why = {}
    for name in sorted(shorter, key=lambda each: shorter[each], reverse=True):
        if not (obstacle := _obstacle(spec, data, name, shorter[name])):
            return name
        why[name] = obstacle
    if held.now is not None:
        _log.warning("%s: training starts over: %s", spec.out, _difference(spec, held, why.get(held.now, "")))
    return None


def _is_shorter(spec: Train, before: Settings) -> bool:
    return [*list_changes(spec, before, None)] == ["epochs"] and before.get("epochs", spec.epochs) < spec.epochs


def _obstacle(spec: Train, data: TrainingData, name: str, epochs: int) -> str:
    """Why resuming a run of so many epochs differs from training `spec.epochs` from the start; "" if it does not."""
    if spec.optimizer.schedule != "constant":
        return f"the {spec.optimizer.schedule} schedule spans all epochs"
    if spec.optimizer.warmup:
        return f"the warm-up is a share of all steps (optimizer.warmup={spec.optimizer.warmup:g})"
    had = plan_windows(spec.model_copy(update={"epochs": epochs}), data.index, data.classes)
    if (data.windows.per_epoch, data.windows.batches) != (had.per_epoch, had.batches):
        return "with so many epochs, each epoch has other batches"
    if checkpoint_directory(spec, name).newest() is None:
        return "none of its checkpoints is left"
    return ""


def _difference(spec: Train, held: Runs, why: str) -> str:
    """How the job differs from the run that the folder belongs to."""
    before = held.settings.get(str(held.now))
    if before is None:
        return f"the folder holds {held.now}, a run of an earlier version"
    changed = join_changes(list_changes(spec, before, None))
    return f"the folder holds {held.now}, which differs: {changed}" + (f"; {why}" if why else "")


def _take_over(spec: Train, held: Runs, former: str, name: str) -> None:
    """Copy a run's checkpoints and metrics; the checkpoints last, since they mark the copy as complete."""
    source, target = checkpoint_directory(spec, former), checkpoint_directory(spec, name)
    print_line(
        f"{spec.out}: training resumes {former}: {join_changes(list_changes(spec, held.settings[former], None))}"
    )
    if target.newest() is not None:
        return
    figures = spec.out / METRICS if held.now == former else metrics_of(spec.out, former)
    if storage.is_file(figures):
        storage.write_bytes(metrics_of(spec.out, name), storage.read_bytes(figures))
    copy_folder(source.root, target.root, last=SEAL_FILE)


def _measured_as_begun(spec: Train, before: Settings) -> Train:
    """The job with the validation settings that its run began with; a line names those that the user has changed."""
    kept = {path: before[path] for path in list_changes(spec, before, "measure") if path in before}
    if not kept:
        return spec
    changed = ", ".join(f"{path}={value}" for path, value in kept.items())
    print_line(f"{spec.out}: {changed} stays as it was when this run began, so that its figures can be compared")
    return spec.model_copy(update=kept)
