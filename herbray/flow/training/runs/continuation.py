"""How a training goes on from what its run folder holds: its own run, a run of fewer epochs, or nothing, and why."""

import json
import logging
import sys
from collections.abc import Mapping
from typing import Final

from herbray import storage
from herbray.flow.training.checkpoints.directory import copy_folder, store_of
from herbray.flow.training.runs.folder import METRICS, Runs, metrics_of, runs
from herbray.flow.training.runs.identity import Settings, run_name, settings
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.settings.marks import Role, role_at

_SHOWN: Final = 4
"""So many changed settings are listed."""

_log = logging.getLogger(__name__)


def continued(spec: Train) -> Train:
    """The job, with what its folder holds to go on from, before it claims the folder.

    A run whose settings differ in a larger `epochs` alone is gone on from where that is the same as training so long
    at once. Else a warning says why the job begins anew, if the folder holds another run.

    Returns:
        The job, which measures its validation as its run began: figures of one run are compared with each other.

    Raises:
        ValueError: bad input.
        OSError: no room for the checkpoints that are taken over.
    """
    held, name = runs(spec.out), run_name(spec)
    if name in held.settings:
        return _measured_as_begun(spec, held.settings[name])
    former = _shorter(spec, held)
    if former is None:
        return spec
    _take_over(spec, held, former, name)
    return _measured_as_begun(spec, held.settings[former])


def changes(spec: Train, before: Settings, *roles: Role | None) -> dict[str, str]:
    """Settings that differ from those of an earlier run: path → "epochs 25 → 30".

    Args:
        spec: of the job.
        before: settings of the earlier run.
        roles: of the settings that are looked at; None stands for what bears on what is learned.
    """
    now = settings(spec)
    pairs = {path: (_text(before, path), _text(now, path)) for path in {**now, **before}}
    return {
        path: f"{path} {old} → {new}"
        for path, (old, new) in pairs.items()
        if old != new and role_at(spec, path) in roles
    }


def listed(told: Mapping[str, str]) -> str:
    """The first few of `changes`, and how many there are beside."""
    first = ", ".join([*told.values()][:_SHOWN])
    return first + (f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")


def say(line: str) -> None:
    """Tell the user how a job goes on."""
    print(line, file=sys.stderr, flush=True)


def _text(tree: Settings, path: str) -> str:
    value = tree.get(path, "absent")
    return value if isinstance(value, str) else json.dumps(value)


def _shorter(spec: Train, held: Runs) -> str | None:
    """The run of fewer epochs to go on from; where there is none, a warning says why, if the folder holds a run."""
    shorter = {name: before["epochs"] for name, before in held.settings.items() if _is_shorter(spec, before)}
    why = {}
    for name in sorted(shorter, key=lambda each: shorter[each], reverse=True):
        if not (obstacle := _obstacle(spec, name, shorter[name])):
            return name
        why[name] = obstacle
    if held.now is not None:
        _log.warning("%s: training begins anew: %s", spec.out, _difference(spec, held, why.get(held.now, "")))
    return None


def _is_shorter(spec: Train, before: Settings) -> bool:
    return [*changes(spec, before, None)] == ["epochs"] and before.get("epochs", spec.epochs) < spec.epochs


def _obstacle(spec: Train, name: str, epochs: int) -> str:
    """Why training on from a run of so many epochs is not the same as training `spec.epochs` at once."""
    if spec.optimizer.schedule != "constant":
        return f"the {spec.optimizer.schedule} schedule spans all epochs"
    if spec.optimizer.warmup:
        return f"the warm-up is a share of all steps (optimizer.warmup={spec.optimizer.warmup:g})"
    wanted, had = (
        read_training_data(spec).windows,
        read_training_data(spec.model_copy(update={"epochs": epochs})).windows,
    )
    if wanted[: len(had)] != had:
        return "over so many epochs each has other batches"
    if store_of(spec, name).newest() is None:
        return "no checkpoint of it is left"
    return ""


def _difference(spec: Train, held: Runs, why: str) -> str:
    """How the job differs from the run that has the folder."""
    before = held.settings.get(str(held.now))
    if before is None:
        return f"the folder holds {held.now}, a run of an earlier version"
    told = listed(changes(spec, before, None))
    return f"the folder holds {held.now}, which differs: {told}" + (f"; {why}" if why else "")


def _take_over(spec: Train, held: Runs, former: str, name: str) -> None:
    """Copy a run's checkpoints and figures, the checkpoints last: with them the run has been taken over."""
    source, target = store_of(spec, former), store_of(spec, name)
    say(f"{spec.out}: training goes on from {former}: {listed(changes(spec, held.settings[former], None))}")
    if target.root.exists():
        return
    figures = spec.out / METRICS if held.now == former else metrics_of(spec.out, former)
    if figures.exists():
        storage.write_bytes(metrics_of(spec.out, name), figures.read_bytes())
    copy_folder(source.root, target.root)


def _measured_as_begun(spec: Train, before: Settings) -> Train:
    """The job with the measures of its run's beginning; a line tells of those that the user has changed since."""
    kept = {path: before[path] for path in changes(spec, before, "measure") if path in before}
    if not kept:
        return spec
    told = ", ".join(f"{path}={value}" for path, value in kept.items())
    say(f"{spec.out}: {told} stays, as this run began with it: its figures are compared with each other")
    return spec.model_copy(update=kept)
