"""The sweep job: many short trainings of one search space; the best one becomes a file for `herbray train`."""

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
from herbray.data.fingerprint import fingerprint_json
from herbray.flow.cluster import connection
from herbray.flow.cluster.gpus import find_nodes
from herbray.flow.sweep.capacity import Allocation, allocate
from herbray.flow.sweep.controller import Sweep, describe_trial, run_trials
from herbray.flow.sweep.search_space import Range, Value, apply_values, draw_trials, format_range, list_combinations
from herbray.flow.sweep.successive_halving import Halving, Rungs
from herbray.flow.sweep.suggestions import SearcherName, make_suggester
from herbray.flow.sweep.trials import Trial, TrialFiles, best_trial, write_table
from herbray.flow.training.on_ray.workers import divide_cpus
from herbray.flow.training.preparation import resolve_start_weights
from herbray.flow.training.runs.identity import public_settings, run_name, validation_settings
from herbray.flow.training.specification import Elastic, Train
from herbray.flow.training.training_data import read_training_data
from herbray.settings.marks import Mark, dump_without


class SweepFailed(ValueError):
    """No trial has a score; the message lists why each trial failed."""


class Tune(Spec):
    """The sweep job. Reads a shards folder, trains one encoder per trial, writes `trials.parquet` and `best.yaml`."""

    train: Train = Field(Train(), description="settings of all trials; its out, store and experiment are ignored")
    space: dict[str, Range] = Field(min_length=1, description="dotted path of a setting of `train`: its range")
    searcher: SearcherName = Field(
        "random", description="random; grid: every combination; optuna: values chosen from the scores of earlier trials"
    )
    trials: int | None = Field(None, ge=1, description="number of trials; None: 16, or the whole grid")
    halving: Halving | None = Field(Halving(), description="stops trials that fall behind; null: every trial ends")
    concurrent: Annotated[int | None, Mark("conduct")] = Field(
        None, ge=1, description="trials at once; None: as many as fit the cluster"
    )
    retry_failed: Annotated[bool, Mark("conduct")] = Field(False, description="run failed trials again")
    out: Annotated[Path, Mark("place")] = Field(
        Path("runs/tune"), description="folder of the sweep: trials, `trials.parquet`, `best.yaml`"
    )
    experiment: Annotated[str, Mark("name")] = Field("herbray", description="MLflow experiment of the sweep")
    store: Annotated[Path, Mark("place")] = Field(
        Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set"
    )
    seed: int = Field(89, description="seed of the settings that are drawn for trials")
    scale: str | None = Field(None, description="name of the entry of `scales` that fills in settings left unset")
    scales: Annotated[dict[str, dict[str, Any]], Mark("conduct")] = Field(
        {}, description="name of a scale: settings of this job by dotted path"
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_scale(cls, given: Any) -> Any:  # noqa: ANN401  (input that is not validated yet)
        if not isinstance(given, Mapping) or given.get("scale") is None:
            return given
        scales = given.get("scales")
        if not isinstance(given["scale"], str) or not isinstance(scales, Mapping) or given["scale"] not in scales:
            names = ", ".join(scales or ())
            raise ValueError(f"scale {given['scale']!r} is not one of {names or 'the scales: `scales` is empty'}")
        tree = dict(given)
        for path, value in (scales[given["scale"]] or {}).items():
            _set_default(tree, path.split("."), value)
        return tree


@dataclass(frozen=True)
class SweepResult:
    """The outcome of a sweep.

    Attributes:
        trials: all trials, by number.
        best: the trial with the highest score.
        spec: the file with the best trial's training job.
    """

    trials: Sequence[Trial]
    best: Trial
    spec: Path

    def __str__(self) -> str:
        """The last lines of `herbray tune`."""
        count = {status: sum(t.status == status for t in self.trials) for status in ("finished", "stopped", "failed")}
        ended = ", ".join(f"{number} {status}" for status, number in count.items() if number)
        return f"{len(self.trials)} trials ({ended}); best: {describe_trial(self.best)}\nherbray train {self.spec}"


def tune(spec: Tune) -> SweepResult:
    """Run the sweep, or resume it: trials that have ended are not run again, interrupted ones continue.

    Raises:
        ValueError: bad input; the cluster is too small; `out` holds another sweep.
        SweepFailed: every trial failed.
    """
    total = _check_trials(spec)
    spec = spec.model_copy(update={"train": resolve_start_weights(spec.train, spec.store)})
    name = f"{spec.train.objective.name}-sweep-{_claim_folder(spec)}"
    files = TrialFiles(spec.out, spec.train.keep)
    earlier = files.read()
    again = {"running", "failed"} if spec.retry_failed else {"running"}
    pending = [n for n in range(total) if n not in earlier or earlier[n].status in again]
    uri = tracking.tracking_uri(spec.store)
    running = _with_workers(spec)
    with connection.connect(dashboard=True) if pending else nullcontext():
        allocation = _allocate(running, len(pending)) if pending else None
        suggester = make_suggester(spec.searcher, spec.space, total, spec.seed, earlier.values())
        with tracking.wrap_store_errors("no trial has started; run the same command again"):
            run = tracking.open_run(
                uri, spec.experiment, name, _params(running), {"objective": spec.train.objective.name}
            )
        sweep = Sweep(files, functools.partial(make_trial_job, running), suggester, run)
        with tracking.deliver_in_background(run, sweep.update_runs, _hint(spec)):
            if allocation:
                run_trials(sweep, pending, allocation, _restore_rungs(spec, files, earlier))
    sweep.record_run_ids()
    return _conclude(spec, files, run)


def make_trial_job(spec: Tune, number: int, values: Mapping[str, Value]) -> Train:
    """The training job of a trial."""
    job = resolve_start_weights(
        apply_values(spec.train, values, number), spec.store
    )  # the space may hold an alias of a model
    out = TrialFiles(spec.out, job.keep).folder(number)
    return job.model_copy(update={"out": out, "store": spec.store, "experiment": spec.experiment})


def _with_workers(spec: Tune) -> Tune:
    """The sweep with a definite number of workers per trial: one if the user set none, so that more trials run at once.

    `best.yaml` leaves the number unset again, because that training has the cluster to itself.
    """
    return spec.model_copy(update={"train": spec.train.model_copy(update={"workers": spec.train.most_workers})})


def _check_trials(spec: Tune) -> int:
    """Check that each trial whose values are known in advance is a valid job on these shards.

    Returns:
        The number of trials.

    Raises:
        ValueError: a trial is invalid, no trial would have a score, or `trials` does not suit the searcher.
    """
    if spec.train.workers == 0:
        raise ValueError("a sweep trains on Ray: train.workers must be at least 1")
    if isinstance(spec.train.workers, Elastic):
        raise ValueError("a sweep divides the cluster among trials: train.workers must be a number, not a range")
    validation = read_training_data(spec.train.model_copy(update={"epochs": 1})).validation
    if validation is None or validation.obstacle:
        absent = "there is no validation split: make the shards with splits.validation above 0"
        raise ValueError(
            f"{spec.train.shards}: no trial would report val_knn, the score by which trials are compared: "
            f"{validation.obstacle if validation else absent}"
        )
    points = list_combinations(spec.space) if spec.searcher == "grid" else None
    if points is not None and spec.trials not in (None, len(points)):
        raise ValueError(f"the grid has {len(points)} points, but trials={spec.trials}: do not set trials")
    trials = points or draw_trials(spec.space, spec.trials or 16, spec.seed)  # Optuna's values are in the same ranges
    checked = set()
    for number, values in enumerate(trials):
        job = make_trial_job(spec, number, values).model_copy(update={"epochs": 1})
        shape = (job.objective.group, job.stream, job.encoder.size, job.seed)
        if shape not in checked:
            checked.add(shape)
            read_training_data(job)
    return len(trials)


def _claim_folder(spec: Tune) -> str:
    """Write the sweep's fingerprint into `out` when the sweep starts.

    Returns:
        The fingerprint.

    Raises:
        ValueError: `out` holds another sweep.
    """
    space = {path: format_range(each) for path, each in spec.space.items()}
    key = fingerprint_json(run_name(spec.train), validation_settings(spec.train), [space, spec.searcher, spec.seed])
    file = spec.out / "sweep.json"
    existing = _read_fingerprint(file)
    if existing not in (None, key):
        raise ValueError(
            f"{spec.out} holds another sweep ({existing}, not {key}): settings, space, searcher, seed, shards or the "
            "model version of the start weights differ. Choose another out, or remove that folder"
        )
    storage.make_folder(spec.out)
    note = {"fingerprint": key, "objective": spec.train.objective.name, "epochs": spec.train.epochs, "space": space}
    note |= {"searcher": spec.searcher, "seed": spec.seed}
    if existing is None:
        storage.write_note(file, note)
    return key


def _read_fingerprint(file: Path) -> str | None:
    """Fingerprint of the sweep that `file` describes; None if there is no such file."""
    if not storage.is_file(file):
        return None
    way_out = (
        "if the trials in this folder belong to this sweep, remove this file and run the same command; "
        "otherwise choose another out"
    )
    return str(storage.read_note(file, way_out)["fingerprint"])


def _params(spec: Tune) -> dict[str, Any]:
    return dump_without(spec, "place", "conduct", "name") | {"train": public_settings(spec.train, "name")}


def _restore_rungs(spec: Tune, files: TrialFiles, earlier: Mapping[int, Trial]) -> Rungs | None:
    if spec.halving is None:
        return None
    rungs = Rungs(spec.halving, spec.train.epochs)
    for number in earlier:
        rungs.restore(number, files.read_metrics(number))
    return rungs


def _allocate(spec: Tune, pending: int) -> Allocation:
    _require_dashboard()
    nodes = find_nodes(spec.train.device, spec.train.fewest_workers, spec.train.patience_s)
    smallest = spec.train.model_copy(update={"cpus_per_worker": 0.1})
    _, feed = divide_cpus(smallest, nodes)
    cores = os.cpu_count() if len(nodes) == 1 and not os.environ.get("RAY_ADDRESS") else None
    return allocate(spec.train, nodes, feed, pending, spec.concurrent, cores)


def _require_dashboard() -> None:
    """Check that the cluster has a dashboard.

    Ray Train asks the dashboard whether the controller of a stopped trial is alive; without a dashboard, the trial's
    CPUs are never released.

    Raises:
        ValueError: the cluster has no dashboard.
    """
    import ray
    from ray.util.state import list_actors
    from ray.util.state.exception import RayStateApiException

    try:
        address = ray.get_runtime_context().gcs_address  # the default is the machine's newest cluster: perhaps not ours
        list_actors(address=address, limit=1, timeout=30, raise_on_missing_output=False)
    except (RayStateApiException, OSError) as error:
        raise ValueError(
            "a sweep needs a cluster with a dashboard, which frees the CPUs of stopped trials: start the head node "
            f"with `ray start --head --include-dashboard=true` ({type(error).__name__})"
        ) from None


def _conclude(spec: Tune, files: TrialFiles, run: tracking.Run) -> SweepResult:
    """Write the table and the best job, attach both to the sweep's run, and close the run."""
    trials = [*files.read().values()]
    write_table(trials, spec.space, spec.out / "trials.parquet")
    files.prune_checkpoints(trials)
    leader = best_trial(trials)
    if leader is not None:
        file = spec.out / "best.yaml"
        command = f"herbray train {file}"
        head = f"# {describe_trial(leader)}\n# {command} continues from its checkpoint and registers the encoder\n"
        storage.write_text(file, head + config.dump(make_trial_job(spec, leader.number, leader.values)))
    with tracking.wrap_store_errors(_hint(spec), run):
        tracking.log_file(run, spec.out / "trials.parquet")
        if leader is not None:
            tracking.log_file(run, file)
            tracking.log_run_metrics(run, {"score": leader.score or 0.0, "best_trial": float(leader.number)})
        tracking.finish(run, "FINISHED" if leader is not None else "FAILED")
    if leader is None:
        causes = "\n".join(f"  {describe_trial(trial)}" for trial in trials)
        raise SweepFailed(f"{spec.out}: none of the {len(trials)} trials has a score:\n{causes}")
    return SweepResult(trials, leader, file)


def _hint(spec: Tune) -> str:
    return f"the sweep has ended and is safe in {spec.out}: re-run the command to send the rest to the tracking server"


def _set_default(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:  # noqa: ANN401  (any setting)
    """Set a value if none is set; mappings on the way are copied."""
    name, *rest = path
    if not rest:
        tree.setdefault(name, value)
    elif isinstance(tree.setdefault(name, {}), Mapping):
        tree[name] = dict(tree[name])
        _set_default(tree[name], rest, value)
