"""Asynchronous successive halving: a trial that is not among the best at a rung is stopped (Li et al. 2020).

The rule of Ray's `ASHAScheduler` with one bracket, whose state Ray does not save: here the rungs are a function of the
trials' reports, so a sweep that was interrupted rebuilds them from its files.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from herbray.config import Spec

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class Halving(Spec):
    """When trials are stopped."""

    grace: int = Field(1, ge=1, description="epochs that every trial gets; also the first rung")
    factor: float = Field(3.0, gt=1, description="about one in so many goes beyond a rung; rungs lie so far apart")


class Rungs:
    """The scores that trials had at the rungs."""

    def __init__(self, spec: Halving, epochs: int) -> None:
        """Rungs lie at grace · factor^k epochs, below `epochs`, where a trial ends by itself."""
        self.factor = spec.factor
        milestones: list[float] = []
        while (milestone := spec.grace * spec.factor ** len(milestones)) < epochs:
            milestones.append(milestone)
        self.scores: dict[float, dict[int, float]] = {milestone: {} for milestone in reversed(milestones)}

    def tell(self, trial: int, epochs: float, score: float) -> bool:
        """Hear a score; whether the trial may go on.

        At a rung that it reaches for the first time a trial must not lie below the (1 - 1/factor) quantile of those
        that came before. The first comer goes on.
        """
        for milestone, scores in self.scores.items():
            if epochs >= milestone and trial not in scores:
                cutoff = np.percentile(list(scores.values()), (1 - 1 / self.factor) * 100) if scores else -np.inf
                scores[trial] = score
                return bool(score >= cutoff)
        return True

    def remember(self, trial: int, reports: Iterable[Mapping[str, float]]) -> None:
        """Take in what a trial reported before the sweep was interrupted; it has been decided upon."""
        for row in reports:
            if "val_knn" in row:
                self.tell(trial, row["epochs_done"], row["val_knn"])


class HalvingScheduler(FIFOScheduler):
    """`Rungs` in Tune. A trial is known by `config["number"]`, its time is the `epochs_done` of its own reports."""

    def __init__(self, rungs: Rungs) -> None:
        """`rungs` may hold scores already."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.rungs = rungs
        self.stopped: set[int] = set()

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Stop or go on; a report without a score changes nothing."""
        number = trial.config["number"]
        if "val_knn" not in result or self.rungs.tell(number, result["epochs_done"], result["val_knn"]):
            return TrialScheduler.CONTINUE
        self.stopped.add(number)
        return TrialScheduler.STOP
