"""The sweep job: many short trainings, the best settings as a file that `herbray train` takes."""

import functools
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from herbray import config, storage, tracking
from herbray.config import Spec
from herbray.data import plan
from herbray.flow.cluster import connection
from herbray.flow.sweep.capacity import share
from herbray.flow.sweep.controller import Room, Sweep, describe, run_trials
from herbray.flow.sweep.search_space import Range, Value, drawn, every, specified, text
from herbray.flow.sweep.successive_halving import Halving, Rungs
from herbray.flow.sweep.suggestions import Searcher, suggester
from herbray.flow.sweep.trials import Ledger, Trial, best, write_table
from herbray.flow.training.on_ray.workers import divide_cpus
from herbray.flow.training.preparation import resolve_start_weights
from herbray.flow.training.runs.identity import public_settings, run_name, validation_settings
from herbray.flow.training.specification import Elastic, Train
from herbray.flow.training.training_data import read_training_data
from herbray.settings.marks import Mark, without


class SweepFailed(ValueError):
    """Not one trial has a score; the message lists why each failed."""


class Tune(Spec):
    """The sweep job. Reads a shards folder, trains an encoder a trial, writes `trials.parquet` and `best.yaml`."""

    train: Train = Field(Train(), description="what all trials share; its out, store and experiment do not count")
    space: dict[str, Range] = Field(min_length=1, description="dotted path of a setting of `train`: its range")
    searcher: Searcher = Field("random", description="grid: every combination; optuna: in the light of earlier trials")
    trials: int | None = Field(None, ge=1, description="None: 16, or the whole grid")
    halving: Halving | None = Field(Halving(), description="stops trials that fall behind; null: none")
    concurrent: Annotated[int | None, Mark("conduct")] = Field(
        None, ge=1, description="trials at once; None: as many as the cluster holds"
    )
    retry_failed: Annotated[bool, Mark("conduct")] = Field(False, description="run failed trials once more")
    out: Annotated[Path, Mark("place")] = Field(
        Path("runs/tune"), description="folder of the sweep: trials, `trials.parquet`, `best.yaml`"
    )
    experiment: Annotated[str, Mark("name")] = Field("herbray", description="MLflow experiment of the sweep")
    store: Annotated[Path, Mark("place")] = Field(
        Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set"
    )
    seed: int = Field(89, description="seed of the settings that are drawn for trials")
    scale: str | None = Field(None, description="which of `scales` fills in what is not set")
    scales: Annotated[dict[str, dict[str, Any]], Mark("conduct")] = Field(
        {}, description="settings of this job by dotted path, by name of a scale"
    )

    @model_validator(mode="before")
    @classmethod
    def _scaled(cls, given: Any) -> Any:  # noqa: ANN401  (before validation it may be anything)
        if not isinstance(given, Mapping) or given.get("scale") is None:
            return given
        scales = given.get("scales")
        if not isinstance(given["scale"], str) or not isinstance(scales, Mapping) or given["scale"] not in scales:
            raise ValueError(f"scale {given['scale']!r} is not one of {', '.join(scales or ()) or 'the scales: none'}")
        tree = dict(given)
        for path, value in (scales[given["scale"]] or {}).items():
            _fill(tree, path.split("."), value)
        return tree


@dataclass(frozen=True)
class Swept:
    """What a sweep found."""

    trials: Sequence[Trial]
    best: Trial
    spec: Path

    def __str__(self) -> str:
        """The line that the command ends with."""
        count = {status: sum(t.status == status for t in self.trials) for status in ("finished", "stopped", "failed")}
        ended = ", ".join(f"{number} {status}" for status, number in count.items() if number)
        return f"{len(self.trials)} trials ({ended}); best: {describe(self.best)}\nherbray train {self.spec}"


def tune(spec: Tune) -> Swept:
    """Run the sweep, or go on with it: trials that ended are not run again, those under way go on where they were.

    Raises:
        ValueError: bad input; the cluster is too small; `out` holds another sweep.
        SweepFailed: every trial failed.
    """
    total = _checked(spec)
    spec = spec.model_copy(update={"train": resolve_start_weights(spec.train, spec.store)})
    name = f"{spec.train.objective.name}-sweep-{_claim(spec)}"
    ledger = Ledger(spec.out, spec.train.keep)
    earlier = ledger.read()
    again = {"running", "failed"} if spec.retry_failed else {"running"}
    pending = [n for n in range(total) if n not in earlier or earlier[n].status in again]
    uri = tracking.tracking_uri(spec.store)
    manned = _manned(spec)
    with connection.connected(dashboard=True) if pending else nullcontext():
        room = _room(manned, len(pending)) if pending else None
        chooser = suggester(spec.searcher, spec.space, total, spec.seed, earlier.values())
        with tracking.told("no trial has begun; the same command tries again"):
            run = tracking.open_run(
                uri, spec.experiment, name, _params(manned), {"objective": spec.train.objective.name}
            )
        sweep = Sweep(ledger, functools.partial(_job, manned), chooser, run)
        with tracking.delivered(run, sweep.deliver, _hint(spec)):
            if room:
                run_trials(sweep, pending, room, _rungs(spec, ledger, earlier))
    sweep.note_runs()
    return _conclude(spec, ledger, run)


def _job(spec: Tune, number: int, values: Mapping[str, Value]) -> Train:
    """A trial's training job."""
    job = resolve_start_weights(specified(spec.train, values, number), spec.store)  # an alias may stand in the space
    out = Ledger(spec.out, job.keep).folder(number)
    return job.model_copy(update={"out": out, "store": spec.store, "experiment": spec.experiment})


def _manned(spec: Tune) -> Tune:
    """Where no number of workers is named, a trial has one: the cluster is filled by trials side by side.

    `best.yaml` leaves the number open again: the training that follows has the cluster to itself.
    """
    return spec.model_copy(update={"train": spec.train.model_copy(update={"workers": spec.train.most_workers})})


def _checked(spec: Tune) -> int:
    """How many trials there will be; every one that can be known beforehand is a valid job on these shards.

    Raises:
        ValueError: one is not, no trial would have a score, or `trials` does not suit the searcher.
    """
    if spec.train.workers == 0:
        raise ValueError("a sweep trains on Ray: train.workers must be at least 1")
    if isinstance(spec.train.workers, Elastic):
        raise ValueError("a sweep shares its cluster among trials: train.workers must be a number, not a range")
    validation = read_training_data(spec.train.model_copy(update={"epochs": 1})).validation
    if validation is None or validation.obstacle:
        absent = "there is no validation split: make the shards with splits.validation above 0"
        raise ValueError(
            f"{spec.train.shards}: no trial would report val_knn, by which they are compared: "
            f"{validation.obstacle if validation else absent}"
        )
    points = every(spec.space) if spec.searcher == "grid" else None
    if points is not None and spec.trials not in (None, len(points)):
        raise ValueError(f"the grid has {len(points)} points, trials={spec.trials}: leave trials out")
    trials = points or drawn(spec.space, spec.trials or 16, spec.seed)  # those of Optuna will lie in the same ranges
    seen = set()
    for number, values in enumerate(trials):
        job = _job(spec, number, values).model_copy(update={"epochs": 1})
        shape = (job.objective.group, job.stream, job.encoder.size, job.seed)
        if shape not in seen:
            seen.add(shape)
            read_training_data(job)
    return len(trials)


def _claim(spec: Tune) -> str:
    """Fingerprint of what makes the sweep this sweep, written into `out` when it begins.

    Raises:
        ValueError: `out` holds another one.
    """
    space = {path: text(each) for path, each in spec.space.items()}
    key = plan.fingerprint(run_name(spec.train), validation_settings(spec.train), [space, spec.searcher, spec.seed])
    file = spec.out / "sweep.json"
    there = _fingerprint(file)
    if there not in (None, key):
        raise ValueError(
            f"{spec.out} holds another sweep ({there}, this is {key}): settings, space, searcher, seed, shards or "
            "the version that start weights name differ. Choose another out, or remove that folder"
        )
    spec.out.mkdir(parents=True, exist_ok=True)
    note = {"fingerprint": key, "objective": spec.train.objective.name, "epochs": spec.train.epochs, "space": space}
    note |= {"searcher": spec.searcher, "seed": spec.seed}
    if there is None:
        storage.write_note(file, note)
    return key


def _fingerprint(file: Path) -> str | None:
    """Of the sweep that a folder holds; None where it holds none."""
    if not file.exists():
        return None
    way_out = "if the trials here are of this sweep, remove this file and run the same command; else choose another out"
    return str(storage.read_note(file, way_out)["fingerprint"])


def _params(spec: Tune) -> dict[str, Any]:
    return without(spec, "place", "conduct", "name") | {"train": public_settings(spec.train, "name")}


def _rungs(spec: Tune, ledger: Ledger, earlier: Mapping[int, Trial]) -> Rungs | None:
    if spec.halving is None:
        return None
    rungs = Rungs(spec.halving, spec.train.epochs)
    for number in earlier:
        rungs.remember(number, ledger.reports(number))
    return rungs


def _room(spec: Tune, pending: int) -> Room:
    _dashboard()
    nodes = connection.nodes()
    smallest = spec.train.model_copy(update={"cpus_per_worker": 0.1})
    _, feed = divide_cpus(smallest)
    own = os.cpu_count() if len(nodes) == 1 and not os.environ.get("RAY_ADDRESS") else None
    return share(spec.train, nodes, feed, pending, spec.concurrent, own)


def _dashboard() -> None:
    """Train asks the dashboard whether a stopped trial's controller lives; without it, its CPUs are never given back.

    Raises:
        ValueError: the cluster has none.
    """
    import ray
    from ray.util.state import list_actors
    from ray.util.state.exception import RayStateApiException

    try:
        here = ray.get_runtime_context().gcs_address  # not the machine's newest cluster, which may be another's
        list_actors(address=here, limit=1, timeout=30, raise_on_missing_output=False)
    except (RayStateApiException, OSError) as error:
        raise ValueError(
            "a sweep needs a cluster with a dashboard, which frees the CPUs of stopped trials: start its head with "
            f"`ray start --head --include-dashboard=true` ({type(error).__name__})"
        ) from None


def _conclude(spec: Tune, ledger: Ledger, run: tracking.Run) -> Swept:
    """Write the table and the best job, attach both to the sweep's run, and close it."""
    trials = [*ledger.read().values()]
    write_table(trials, spec.space, spec.out / "trials.parquet")
    ledger.prune(trials)
    leader = best(trials)
    if leader is not None:
        file = spec.out / "best.yaml"
        head = f"# {describe(leader)}\n# herbray train {file} goes on from its checkpoint and registers the encoder\n"
        storage.write_text(file, head + config.dump(_job(spec, leader.number, leader.values)))
    with tracking.told(_hint(spec), run):
        tracking.log_file(run, spec.out / "trials.parquet")
        if leader is not None:
            tracking.log_file(run, file)
            tracking.log_figures(run, {"score": leader.score or 0.0, "best_trial": float(leader.number)})
        tracking.finish(run, "FINISHED" if leader is not None else "FAILED")
    if leader is None:
        causes = "\n".join(f"  {describe(trial)}" for trial in trials)
        raise SweepFailed(f"{spec.out}: not one of {len(trials)} trials has a score:\n{causes}")
    return Swept(trials, leader, file)


def _hint(spec: Tune) -> str:
    return f"the sweep has ended and is safe in {spec.out}: the same command tells the store what it has not heard"


def _fill(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:  # noqa: ANN401  (settings are of any kind)
    """Set a value where none is set; mappings on the way are copied."""
    name, *rest = path
    if not rest:
        tree.setdefault(name, value)
    elif isinstance(tree.setdefault(name, {}), Mapping):
        tree[name] = dict(tree[name])
        _fill(tree[name], rest, value)
