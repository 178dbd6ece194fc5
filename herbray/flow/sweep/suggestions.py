"""The suggesters, which give each trial its values: fixed in advance, or chosen by Optuna from earlier scores."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from herbray.data.draws import draw_numbers
from herbray.flow.sweep.search_space import Choice, Int, LogUniform, Space, Value, draw_trials, list_combinations
from herbray.flow.sweep.trials import Trial

SearcherName = Literal["random", "grid", "optuna"]


class Suggester(Protocol):
    """Gives trials their values."""

    def suggest(self, number: int) -> Mapping[str, Value]:
        """The values of a trial; called once for each number."""

    def observe(self, trial: Trial) -> None:
        """Take note of how a trial ended."""


class FixedSuggester:
    """Gives values that were fixed before the first trial started."""

    def __init__(self, trials: Sequence[Mapping[str, Value]]) -> None:
        """`trials` holds the values of each trial, by number."""
        self.trials = trials

    def suggest(self, number: int) -> Mapping[str, Value]:
        """See `Suggester`."""
        return self.trials[number]

    def observe(self, trial: Trial) -> None:
        """Do nothing."""


class OptunaSuggester:
    """Gives values chosen by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) from earlier scores."""

    def __init__(self, space: Space, trials: int, seed: int, earlier: Iterable[Trial]) -> None:
        """Start a study that knows the trials of `earlier`.

        Raises:
            ValueError: Optuna is not installed.
        """
        try:
            import optuna
        except ImportError:
            raise ValueError("searcher=optuna needs Optuna: `pip install 'herbray[sweep]'`, or use random") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna = optuna
        earlier = list(earlier)
        self.distributions = {path: _to_distribution(optuna, each) for path, each in space.items()}
        sampler_seed = int(draw_numbers(seed, "optuna", [str(len(earlier))])[0] >> 33)  # differs after an interruption
        random_trials = min(10, max(2, math.ceil(trials / 3)))
        self.study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=sampler_seed, n_startup_trials=random_trials)
        )
        self.open_trials: dict[int, Any] = {}
        for trial in earlier:
            if trial.status != "running":
                self.observe(trial)

    def suggest(self, number: int) -> Mapping[str, Value]:
        """See `Suggester`."""
        self.open_trials[number] = self.study.ask(self.distributions)
        return dict(self.open_trials[number].params)

    def observe(self, trial: Trial) -> None:
        """Tell Optuna the score of a trial; a trial without a score counts as failed."""
        state = self.optuna.trial.TrialState.COMPLETE if trial.is_ranked else self.optuna.trial.TrialState.FAIL
        value = trial.score if trial.is_ranked else None
        if trial.number in self.open_trials:
            self.study.tell(self.open_trials.pop(trial.number), value, state=state)
            return
        # Optuna was asked for the trial's values before an interruption, so this study does not know it.
        self.study.add_trial(
            self.optuna.trial.create_trial(
                params=dict(trial.values), distributions=self.distributions, value=value, state=state
            )
        )


def make_suggester(kind: SearcherName, space: Space, trials: int, seed: int, earlier: Iterable[Trial]) -> Suggester:
    """The suggester for a sweep's `searcher`."""
    if kind == "optuna":
        return OptunaSuggester(space, trials, seed, earlier)
    return FixedSuggester(list_combinations(space) if kind == "grid" else draw_trials(space, trials, seed))


def _to_distribution(optuna: Any, each: object) -> Any:  # noqa: ANN401  (Optuna is optional: its types may be missing)
    kinds = optuna.distributions
    if isinstance(each, Choice):
        return kinds.CategoricalDistribution(each.values)
    low, high = each.low, each.high  # type: ignore[attr-defined]  # all others have bounds
    if isinstance(each, Int):
        return kinds.IntDistribution(low, high)
    return kinds.FloatDistribution(low, high, log=isinstance(each, LogUniform))
