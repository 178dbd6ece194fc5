"""Which values a trial gets: laid out beforehand, or asked for by Optuna in the light of earlier trials."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from herbray.data.draws import draw_numbers
from herbray.flow.sweep.search_space import Choice, Int, LogUniform, Space, Value, drawn, every
from herbray.flow.sweep.trials import Trial

Searcher = Literal["random", "grid", "optuna"]


class Suggester(Protocol):
    """Gives trials their values."""

    def values(self, number: int) -> Mapping[str, Value]:
        """The values of a trial; asked once a number."""

    def told(self, trial: Trial) -> None:
        """A trial ended."""


class Laid:
    """Trials that were known before the first began."""

    def __init__(self, trials: Sequence[Mapping[str, Value]]) -> None:
        """`trials` by number."""
        self.trials = trials

    def values(self, number: int) -> Mapping[str, Value]:
        """See `Suggester`."""
        return self.trials[number]

    def told(self, trial: Trial) -> None:
        """Nothing follows from it."""


class Optuna:
    """Tree-structured Parzen estimators (Bergstra et al. 2011), as Optuna has them. Earlier trials are points known."""

    def __init__(self, space: Space, trials: int, seed: int, earlier: Iterable[Trial]) -> None:
        """Begin a study, or go on with one whose trials are `earlier`.

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
        self.distributions = {path: _distribution(optuna, each) for path, each in space.items()}
        chance = int(draw_numbers(seed, "optuna", [str(len(earlier))])[0] >> 33)  # another than before an interruption
        first = min(10, max(2, math.ceil(trials / 3)))
        self.study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=chance, n_startup_trials=first)
        )
        self.asked: dict[int, Any] = {}
        for trial in earlier:
            if trial.status != "running":
                self.told(trial)

    def values(self, number: int) -> Mapping[str, Value]:
        """See `Suggester`."""
        self.asked[number] = self.study.ask(self.distributions)
        return dict(self.asked[number].params)

    def told(self, trial: Trial) -> None:
        """A trial without a score counts as failed; one that was asked for before an interruption is added."""
        state = self.optuna.trial.TrialState.COMPLETE if trial.scored else self.optuna.trial.TrialState.FAIL
        value = trial.score if trial.scored else None
        if trial.number in self.asked:
            self.study.tell(self.asked.pop(trial.number), value, state=state)
            return
        self.study.add_trial(
            self.optuna.trial.create_trial(
                params=dict(trial.values), distributions=self.distributions, value=value, state=state
            )
        )


def suggester(kind: Searcher, space: Space, trials: int, seed: int, earlier: Iterable[Trial]) -> Suggester:
    """The searcher that a sweep names."""
    if kind == "optuna":
        return Optuna(space, trials, seed, earlier)
    return Laid(every(space) if kind == "grid" else drawn(space, trials, seed))


def _distribution(optuna: Any, each: object) -> Any:  # noqa: ANN401  (Optuna is optional: its types may be missing)
    kinds = optuna.distributions
    if isinstance(each, Choice):
        return kinds.CategoricalDistribution(each.values)
    low, high = each.low, each.high  # type: ignore[attr-defined]  # all others have bounds
    if isinstance(each, Int):
        return kinds.IntDistribution(low, high)
    return kinds.FloatDistribution(low, high, log=isinstance(each, LogUniform))
