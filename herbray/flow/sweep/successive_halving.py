"""Asynchronous successive halving (Li et al. 2020), which stops a trial that is not among the best at a rung.

The rule is that of Ray's `ASHAScheduler` with one bracket. Ray does not save that scheduler's state; here the rungs
follow from the trials' metrics alone, so a resumed sweep rebuilds them from its files.
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
    """When trials are stopped early."""

    grace: int = Field(1, ge=1, description="epochs that every trial gets; also the first rung")
    factor: float = Field(
        3.0, gt=1, description="each rung is at this multiple of the epochs of the rung before; about 1 in factor pass"
    )


class Rungs:
    """The scores of trials at the rungs."""

    def __init__(self, spec: Halving, epochs: int) -> None:
        """Rungs lie at grace · factor^k epochs, below `epochs`, the length of a whole trial."""
        self.factor = spec.factor
        milestones: list[float] = []
        while (milestone := spec.grace * spec.factor ** len(milestones)) < epochs:
            milestones.append(milestone)
        self.scores: dict[float, dict[int, float]] = {milestone: {} for milestone in reversed(milestones)}

    def admit(self, trial: int, epochs: float, score: float) -> bool:
        """Record a trial's score and return whether the trial may continue.

        A trial that reaches a rung for the first time must not score below the (1 - 1/factor) quantile of the trials
        that reached the rung earlier. The first trial at a rung continues.
        """
        for milestone, scores in self.scores.items():
            if epochs >= milestone and trial not in scores:
                cutoff = np.percentile(list(scores.values()), (1 - 1 / self.factor) * 100) if scores else -np.inf
                scores[trial] = score
                return bool(score >= cutoff)
        return True

    def restore(self, trial: int, metrics: Iterable[Mapping[str, float]]) -> None:
        """Record the scores that a trial had before the sweep was interrupted, without deciding again."""
        for row in metrics:
            if "val_knn" in row:
                self.admit(trial, row["epochs_done"], row["val_knn"])


class HalvingScheduler(FIFOScheduler):
    """Applies `Rungs` in Tune. A trial's key is `config["number"]`; its time is `epochs_done` of its metrics."""

    def __init__(self, rungs: Rungs) -> None:
        """`rungs` may already hold scores."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.rungs = rungs
        self.stopped: set[int] = set()

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        """Decide whether the trial continues; a result without a score changes nothing."""
        number = trial.config["number"]
        if "val_knn" not in result or self.rungs.admit(number, result["epochs_done"], result["val_knn"]):
            return TrialScheduler.CONTINUE
        self.stopped.add(number)
        return TrialScheduler.STOP
