"""The sweep while it runs: the state that its driver keeps, and the adapters through which Tune runs its trials."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from ray.tune import Callback
from ray.tune.search import Searcher

from herbray import storage, tracking
from herbray.flow.cluster import connection
from herbray.flow.cluster.ray_storage import ray_storage
from herbray.flow.sweep.capacity import DRIVER_CPUS, Allocation
from herbray.flow.sweep.search_space import Value
from herbray.flow.sweep.successive_halving import HalvingScheduler, Rungs
from herbray.flow.sweep.suggestions import Suggester
from herbray.flow.sweep.trials import Status, Trial, TrialFiles, best_trial
from herbray.flow.training.on_ray.failures import root_cause
from herbray.flow.training.registration import read_points
from herbray.flow.training.runs.identity import public_settings
from herbray.flow.training.specification import Train

if TYPE_CHECKING:
    from rich.progress import Progress

CAUSE_FILE: Final = "cause.txt"
"""Name of the file in a trial's folder into which the trial's process writes why it failed."""

_RUN_STATUS: Final[Mapping[Status, Literal["FINISHED", "FAILED", "KILLED"]]] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}

MakeJob = Callable[[int, Mapping[str, Value]], Train]
"""Makes the training job of a trial from its number and values; raises `ValueError` if the values are invalid."""


class Sweep:
    """The trials of a sweep; keeps their files, their tracked runs and the suggester up to date.

    Trials never wait for the tracking server: `update_runs`, called in a thread of its own, brings the runs up to date.
    """

    def __init__(self, files: TrialFiles, make_job: MakeJob, suggester: Suggester, parent: tracking.Run) -> None:
        """Resume from the trials that `files` holds."""
        self.files, self.make_job, self.suggester, self.parent = files, make_job, suggester, parent
        self.trials = files.read()
        self._histories: dict[int, tracking.History] = {}
        self._sent = {n: trial for n, trial in self.trials.items() if trial.run_id and trial.status != "running"}

    def start_trial(self, number: int) -> bool:
        """Give a trial its values and record it; False if the values are invalid: the trial is recorded as failed."""
        earlier = self.trials.get(number)
        values = earlier.values if earlier else self.suggester.suggest(number)
        trial = Trial(number, values, run_id=earlier.run_id if earlier else "")
        try:
            self.make_job(number, trial.values)
        except ValueError as error:
            self._record_end(replace(trial, status="failed", cause=str(error)))
            return False
        storage.remove(self.files.folder(number) / CAUSE_FILE)
        self.trials[number] = self.files.write(trial)
        return True

    def end_trial(self, number: int, status: Status) -> None:
        """Record how a trial ended."""
        cause = _read_cause(self.files.folder(number)) if status == "failed" else ""
        self._record_end(replace(self.trials[number], status=status, cause=cause))
        self.files.prune_checkpoints(self.trials.values(), spare=number)  # its last checkpoint may still be written

    @functools.cached_property
    def name(self) -> str:
        """Name of the sweep; the names of its trials' runs begin with it."""
        return f"sweep-{self.parent.run_id[:8]}"

    def update_runs(self) -> None:
        """Send what is new to the tracking server: a run for each trial, its metrics, and how it ended.

        Nothing is sent twice.

        Raises:
            Exception: the server's error; call again.
        """
        for number, trial in sorted(self.trials.items()):
            if trial.status == "running" or trial != self._sent.get(number):
                self._update_run(trial)
                self._sent[number] = trial

    def _update_run(self, trial: Trial) -> None:
        history = self._histories.get(trial.number) or self._open_history(trial)
        if history is None:
            return
        history.send(read_points(self.files.metrics_path(trial.number)))
        if trial.status != "running":
            if trial.score is not None:
                tracking.log_run_metrics(history.run, {"score": trial.score})
            tracking.finish(history.run, _RUN_STATUS[trial.status])

    def _open_history(self, trial: Trial) -> tracking.History | None:
        try:
            job = self.make_job(trial.number, trial.values)
        except ValueError:  # invalid values: the trial has no run
            return None
        params = public_settings(job)
        tags = {"herbray.trial": str(trial.number), "objective": job.objective.name, "init": params["encoder"]["init"]}
        name = f"{self.name}-{trial.number:03d}"
        run = tracking.open_run(self.parent.uri, self.parent.experiment, name, params, tags, parent=self.parent)
        return self._histories.setdefault(trial.number, tracking.History(run))

    def record_run_ids(self) -> None:
        """Write the run ids into the trials' files, once the runs are up to date: they are not sent again."""
        for number, history in self._histories.items():
            self.trials[number] = self.files.write(replace(self.trials[number], run_id=history.run.run_id))

    def _record_end(self, trial: Trial) -> None:
        self.trials[trial.number] = trial = self.files.write(trial)
        self.suggester.observe(trial)


def run_trials(sweep: Sweep, pending: Sequence[int], allocation: Allocation, rungs: Rungs | None) -> None:
    """Run trials in Tune until each has ended. No file of Tune is needed afterwards."""
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # our files and MLflow hold everything
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output engine prints tables even with verbose=0
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # paths in settings are relative to the driver's folder
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt ends the job, which can be resumed
    out = sweep.files.out.absolute()
    storage.remove_folder(out / "ray")
    scheduler = HalvingScheduler(rungs) if rungs else FIFOScheduler()  # type: ignore[no-untyped-call]
    stopped = scheduler.stopped if isinstance(scheduler, HalvingScheduler) else set[int]()

    make_job, files = sweep.make_job, TrialFiles(out, sweep.files.keep)

    def trial(settings: dict[str, Any]) -> None:  # pickled with all that it names, so it must not name the sweep
        run_trial(make_job, files, settings["number"], allocation.cpus)

    with connection.progress() as bar:
        tune.Tuner(
            tune.with_resources(trial, {"CPU": DRIVER_CPUS}),
            tune_config=tune.TuneConfig(
                search_alg=_TrialNumbers(sweep, pending),
                scheduler=scheduler,
                num_samples=len(pending),
                max_concurrent_trials=allocation.concurrent,
                trial_dirname_creator=lambda each: f"{each.config['number']:03d}-{each.trial_id}",
            ),
            run_config=tune.RunConfig(
                name="tune", **ray_storage(out / "ray"), callbacks=[_EndCallback(sweep, stopped, bar)], verbose=0
            ),
        ).fit()
    storage.remove_folder(out / "ray")


def run_trial(make_job: MakeJob, files: TrialFiles, number: int, cpus: float) -> None:
    """Train one trial, in the trial's own process, with the same `fit` as a training job; resumes from a checkpoint.

    A failure is written to a file, which the driver reads when Tune reports that the trial failed.
    """
    from ray.tune.integration.ray_train import TuneReportCallback

    from herbray.flow.training.job import fit

    job = make_job(number, files.read_one(number).values)
    folder = files.folder(number)
    place = {"out": folder, "shards": job.shards.absolute(), "objective": job.objective.with_absolute_paths()}
    job = job.model_copy(update={**place, "cpus_per_worker": cpus})
    try:
        fit(job, [TuneReportCallback()])  # type: ignore[no-untyped-call]
    except Exception as error:
        inner = root_cause(error)
        storage.write_text(folder / CAUSE_FILE, f"{type(inner).__name__}: {inner}\n")
        raise


class _NotPickled:
    """Base of what is given to Tune, which pickles and copies it to restore it later; our files make that needless."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _TrialNumbers(_NotPickled, Searcher):
    """Gives Tune the numbers of the trials to run."""

    def __init__(self, sweep: Sweep, pending: Sequence[int]) -> None:
        super().__init__()
        self.sweep, self.left = sweep, iter(pending)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]  # "FINISHED" is Tune's own
        number = next((number for number in self.left if self.sweep.start_trial(number)), None)
        return Searcher.FINISHED if number is None else {"number": number}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # noqa: ANN401
        """Do nothing: `_EndCallback` records how the trial ended."""

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:  # noqa: ANN401
        return True

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the trials' files hold the state."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""


class _EndCallback(_NotPickled, Callback):
    """Records in the sweep how trials end, and shows it on the terminal."""

    def __init__(self, sweep: Sweep, stopped: set[int], bar: "Progress") -> None:
        self.sweep, self.stopped, self.bar = sweep, stopped, bar
        self.job = bar.add_task("sweep", total=None, unit="trial")

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **info: Any) -> None:  # noqa: ANN401
        self.bar.update(self.job, total=total_num_samples)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ANN401
        number = trial.config["number"]
        self._end(number, "stopped" if number in self.stopped else "finished")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ANN401
        self._end(trial.config["number"], "failed")

    def _end(self, number: int, status: Status) -> None:
        self.sweep.end_trial(number, status)
        self.bar.console.print(describe_trial(self.sweep.trials[number]), highlight=False, markup=False, soft_wrap=True)
        leader = best_trial(self.sweep.trials.values())
        self.bar.update(self.job, advance=1, description=f"best {leader.score:.3f}" if leader else "sweep")


def describe_trial(trial: Trial) -> str:
    """One line: "trial 3: stopped after 2 epochs, k-NN 0.512 (objective.margin=0.2)"."""
    values = ", ".join(f"{path}={value}" for path, value in trial.values.items())
    score = "" if trial.score is None else f", k-NN {trial.score:.3f}"
    epochs = "1 epoch" if trial.epochs == 1 else f"{trial.epochs:g} epochs"
    cause = f": {trial.cause.splitlines()[0]}" if trial.cause else ""
    return f"trial {trial.number}: {trial.status} after {epochs}{score} ({values}){cause}"


def _read_cause(folder: Path) -> str:
    file = folder / CAUSE_FILE
    if not storage.is_file(file):
        return "its process ended without an error message; perhaps the machine ran out of memory: see Ray's logs"
    return storage.read_bytes(file).decode().strip()
