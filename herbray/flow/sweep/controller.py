"""A sweep while it runs: what the driver notes of its trials, and the thin adapters through which Tune runs them."""

import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from ray.tune import Callback
from ray.tune.search import Searcher

from herbray import tracking
from herbray.flow.cluster import connection
from herbray.flow.sweep.search_space import Value
from herbray.flow.sweep.successive_halving import HalvingScheduler, Rungs
from herbray.flow.sweep.suggestions import Suggester
from herbray.flow.sweep.trials import Ledger, Status, Trial, best
from herbray.flow.training.on_ray.failures import root_cause
from herbray.flow.training.registration import read_points
from herbray.flow.training.runs.identity import public_settings
from herbray.flow.training.specification import Train

if TYPE_CHECKING:
    from rich.progress import Progress

CAUSE: Final = "cause.txt"
"""In a trial's folder: why it failed, written by its own process."""

DRIVER_CPUS: Final = 0.01
"""Of a trial's own process, which only waits; Tune refuses zero."""

_OUTCOMES: Final[Mapping[Status, Literal["FINISHED", "FAILED", "KILLED"]]] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}

Specified = Callable[[int, Mapping[str, Value]], Train]
"""The training job of a trial, by its number and values; `ValueError` where there is none."""


@dataclass(frozen=True)
class Room:
    """How the cluster is shared: trials at once, and CPUs of each of their workers."""

    concurrent: int
    cpus: float


class Sweep:
    """Trials between the files that remember them, the tracked runs that show them and the searcher that hears them.

    Trials never wait for the tracking store: `deliver`, called beside them, brings it to what the files say.
    """

    def __init__(self, ledger: Ledger, specified: Specified, suggester: Suggester, parent: tracking.Run) -> None:
        """Go on with the trials that `ledger` knows."""
        self.ledger, self.specified, self.suggester, self.parent = ledger, specified, suggester, parent
        self.trials = ledger.read()
        self._curves: dict[int, tracking.History] = {}
        self._shown = {n: trial for n, trial in self.trials.items() if trial.run_id and trial.status != "running"}

    def begin(self, number: int) -> bool:
        """Give a trial its values and note it; False if they make no valid job, noted as failed."""
        known = self.trials.get(number)
        values = known.values if known else self.suggester.values(number)
        trial = Trial(number, values, run_id=known.run_id if known else "")
        try:
            self.specified(number, trial.values)
        except ValueError as error:
            self._note(replace(trial, status="failed", cause=str(error)))
            return False
        (self.ledger.folder(number) / CAUSE).unlink(missing_ok=True)
        self.trials[number] = self.ledger.write(trial)
        return True

    def end(self, number: int, status: Status) -> None:
        """Note how a trial ended."""
        cause = _cause(self.ledger.folder(number)) if status == "failed" else ""
        self._note(replace(self.trials[number], status=status, cause=cause))
        self.ledger.prune(self.trials.values(), spare=number)  # its last checkpoint may still be on its way there

    @functools.cached_property
    def name(self) -> str:
        """Of the parent run; its trials' names begin with it."""
        return f"sweep-{self.parent.run_id[:8]}"

    def deliver(self) -> None:
        """Bring the tracking store to what is known of the trials: each its run, each report once, how it ended.

        Raises:
            Exception: the store's; call again.
        """
        for number, trial in sorted(self.trials.items()):
            if trial.status == "running" or trial != self._shown.get(number):
                self._show(trial)
                self._shown[number] = trial

    def _show(self, trial: Trial) -> None:
        curves = self._curves.get(trial.number) or self._opened(trial)
        if curves is None:
            return
        curves.send(read_points(self.ledger.metrics(trial.number)))
        if trial.status != "running":
            if trial.score is not None:
                tracking.log_run_metrics(curves.run, {"score": trial.score})
            tracking.finish(curves.run, _OUTCOMES[trial.status])

    def _opened(self, trial: Trial) -> tracking.History | None:
        try:
            job = self.specified(trial.number, trial.values)
        except ValueError:  # its values make no job, so it has no run
            return None
        params = public_settings(job)
        tags = {"herbray.trial": str(trial.number), "objective": job.objective.name, "init": params["encoder"]["init"]}
        name = f"{self.name}-{trial.number:03d}"
        run = tracking.open_run(self.parent.uri, self.parent.experiment, name, params, tags, parent=self.parent)
        return self._curves.setdefault(trial.number, tracking.History(run))

    def note_runs(self) -> None:
        """Note which runs show the trials, once the store has heard all: they are not shown again."""
        for number, curves in self._curves.items():
            self.trials[number] = self.ledger.write(replace(self.trials[number], run_id=curves.run.run_id))

    def _note(self, trial: Trial) -> Trial:
        self.trials[trial.number] = trial = self.ledger.write(trial)
        self.suggester.told(trial)
        return trial


def run_trials(sweep: Sweep, pending: Sequence[int], room: Room, rungs: Rungs | None) -> None:
    """Run trials in Tune until each has ended; Tune keeps nothing that is needed afterwards."""
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # our files and MLflow hold all
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the other engine prints tables even when it is told not to
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # paths in settings are relative to where the job began
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupt ends the job: it can be given again
    out = sweep.ledger.out.absolute()
    shutil.rmtree(out / "ray", ignore_errors=True)
    scheduler = HalvingScheduler(rungs) if rungs else FIFOScheduler()  # type: ignore[no-untyped-call]
    stopped = scheduler.stopped if isinstance(scheduler, HalvingScheduler) else set[int]()

    specified, ledger = sweep.specified, Ledger(out, sweep.ledger.keep)

    def trial(settings: dict[str, Any]) -> None:  # is pickled with what it names: not the sweep and its connections
        run_trial(specified, ledger, settings["number"], room.cpus)

    with connection.progress() as bar:
        tune.Tuner(
            tune.with_resources(trial, {"CPU": DRIVER_CPUS}),
            tune_config=tune.TuneConfig(
                search_alg=_Proposals(sweep, pending),
                scheduler=scheduler,
                num_samples=len(pending),
                max_concurrent_trials=room.concurrent,
                trial_dirname_creator=lambda each: f"{each.config['number']:03d}-{each.trial_id}",
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(out / "ray"), callbacks=[_Bookkeeper(sweep, stopped, bar)], verbose=0
            ),
        ).fit()
    shutil.rmtree(out / "ray", ignore_errors=True)


def run_trial(specified: Specified, ledger: Ledger, number: int, cpus: float) -> None:
    """A trial's process: the same `fit` as a training job's, which goes on from its checkpoint if it has one.

    Why it failed is written to a file, which the driver reads when it hears that it did.
    """
    from ray.tune.integration.ray_train import TuneReportCallback

    from herbray.flow.training.job import fit

    noted = ledger.begun(number)
    job = specified(number, noted.values)
    folder = ledger.folder(number)
    job = job.model_copy(update={"out": folder, "shards": job.shards.absolute(), "cpus_per_worker": cpus})
    try:
        fit(job, [TuneReportCallback()])  # type: ignore[no-untyped-call]
    except Exception as error:
        inner = root_cause(error)
        (folder / CAUSE).write_text(f"{type(inner).__name__}: {inner}\n", encoding="utf-8")
        raise


class _Unsaved:
    """Tune pickles and copies what it is given, to restore it one day; our ledger remembers, and these stay one."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Proposals(_Unsaved, Searcher):
    """Hands Tune the numbers of trials."""

    def __init__(self, sweep: Sweep, pending: Sequence[int]) -> None:
        super().__init__()
        self.sweep, self.left = sweep, iter(pending)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]  # "FINISHED" is Tune's own
        number = next((number for number in self.left if self.sweep.begin(number)), None)
        return Searcher.FINISHED if number is None else {"number": number}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # noqa: ANN401
        """The bookkeeper hears of it, and of how it ended."""

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:  # noqa: ANN401
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger remembers."""

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""


class _Bookkeeper(_Unsaved, Callback):
    """Tells the sweep and the reader how trials end."""

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
        self.sweep.end(number, status)
        self.bar.console.print(describe(self.sweep.trials[number]), highlight=False, markup=False, soft_wrap=True)
        leader = best(self.sweep.trials.values())
        self.bar.update(self.job, advance=1, description=f"best {leader.score:.3f}" if leader else "sweep")


def describe(trial: Trial) -> str:
    """One line: "trial 3: stopped after 2 epochs, k-NN 0.512 (objective.margin=0.2)"."""
    values = ", ".join(f"{path}={value}" for path, value in trial.values.items())
    score = "" if trial.score is None else f", k-NN {trial.score:.3f}"
    epochs = "1 epoch" if trial.epochs == 1 else f"{trial.epochs:g} epochs"
    cause = f": {trial.cause.splitlines()[0]}" if trial.cause else ""
    return f"trial {trial.number}: {trial.status} after {epochs}{score} ({values}){cause}"


def _cause(folder: Path) -> str:
    file = folder / CAUSE
    if not file.exists():
        return "its process ended without a word: was the machine out of memory? Ray's logs may tell"
    return file.read_text(encoding="utf-8").strip()
