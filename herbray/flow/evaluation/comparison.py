"""Candidate against champion: what earns the alias, and the paired comparison on the same specimens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from herbray import tracking
from herbray.config import Spec
from herbray.schema import Identity
from herbray.tasks import TASKS, Outcome, TaskSpec
from herbray.tasks.base import nearest
from herbray.tasks.methods.bootstrap import Bootstrap, Sample, compare
from herbray.tasks.methods.looks import Interval, one_sided, widened


class Rule(Spec):
    """What earns the alias `champion`: the interval of a paired difference, on one metric of one evaluation set."""

    metric: str = Field("identify/random/genus/accuracy", description="task/split/level/metric")
    above: float = Field(0.0, description="the lower end of the interval of the gain must lie above it")
    bootstrap: Bootstrap = Field(Bootstrap(), description="how the interval is computed")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        parts = self.metric.split("/")
        if len(parts) != 4 or not all(parts):
            raise ValueError(f"metric {self.metric!r}: write task/split/level/metric")
        if parts[0] not in TASKS:
            raise ValueError(f"metric {self.metric!r}: no task {parts[0]!r}; {nearest(parts[0], tuple(TASKS))}")
        if self.bootstrap.resamples < 100:
            raise ValueError(f"bootstrap.resamples={self.bootstrap.resamples}: an interval takes 100 or more")
        return self

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Task, split, level and metric."""
        task, split, level, metric = self.metric.split("/")
        return task, split, level, metric


def _rule(value: object) -> object:
    return {"metric": value} if isinstance(value, str) else value


AnyRule = Annotated[Rule, BeforeValidator(_rule)]
"""A rule, or its metric alone as a text."""


@dataclass(frozen=True)
class Evidence:
    """One version's answers on the evaluation set.

    Attributes:
        shards: fingerprint of the images that were asked about.
        outcome: what each specimen contributed to the rule's metric.
    """

    shards: str
    outcome: Outcome


def evidence(shards: str, outcomes: pa.Table, rule: Rule) -> Evidence | None:
    """The outcome of the rule's metric; None where it was not measured.

    Args:
        shards: fingerprint.
        outcomes: of one encoder, in `schema.OUTCOME`.
        rule: names the metric.
    """
    for name, value in zip(("task", "split", "level", "metric"), rule.key, strict=True):
        outcomes = outcomes.filter(pc.equal(outcomes[name], value))
    if not outcomes.num_rows:
        return None
    arrays = {name: outcomes[name].to_numpy() for name in ("specimen_id", "value", "weight", "unit")}
    return Evidence(shards, Outcome(*rule.key, **arrays, lower_is_better=outcomes["lower_is_better"][0].as_py()))


def consider(
    uri: str,
    name: str,
    version: int,
    seen: tracking.Standing,
    mine: Evidence | None,
    theirs: Evidence | None,
    rule: Rule,
    seed: int,
) -> tracking.Decision:
    """Decide whether a version becomes champion, and carry it out: the one way in which evidence moves the alias.

    Args:
        uri: the store.
        name: the registered model.
        version: the candidate.
        seen: the standing before the evidence was gathered.
        mine: the candidate's evidence; may be None only where there is no champion.
        theirs: the champion's, on the same shards; None where there is no champion, or it is the candidate.
        rule: what is compared.
        seed: of the bootstrap.

    Raises:
        ValueError: the evidence does not allow a comparison.
        tracking.PromotionOvertaken: the champion was moved meanwhile.
    """
    if seen.champion == version:
        return already(name, version)
    if seen.champion is None:
        decision = _first(name, version, mine, rule)
    elif mine is None or theirs is None:
        raise ValueError(f"{rule.metric} is not known of both version {version} and version {seen.champion} of {name}")
    else:
        decision = _compared(uri, name, version, seen.champion, mine, theirs, rule, seed)
    tracking.decide(uri, decision, seen)
    return decision


def already(name: str, version: int) -> tracking.Decision:
    """There is nothing to decide of the champion itself, and nothing is written: how it was earned stays on record."""
    return tracking.Decision(name, version, version, "kept", "it is champion already")


def _first(name: str, version: int, mine: Evidence | None, rule: Rule) -> tracking.Decision:
    """A model without a champion gets its first one without a comparison."""
    if mine is None:
        return tracking.Decision(name, version, None, "promoted", "the first champion, not compared")
    reason = f"the first champion, {rule.metric} {mine.outcome.mean:.4f} on shards {mine.shards[:8]}"
    return tracking.Decision(name, version, None, "promoted", reason, _own(mine, rule))


def _own(mine: Evidence, rule: Rule) -> dict[str, float | int | str]:
    return {"metric": rule.metric, "shards": mine.shards, "value": mine.outcome.mean}


def _compared(
    uri: str, name: str, version: int, champion: int, mine: Evidence, theirs: Evidence, rule: Rule, seed: int
) -> tracking.Decision:
    """Promoted if the interval, widened for the looks that were taken before, lies above what the rule asks for."""
    found, units = _paired(mine, theirs, rule, seed)
    look = tracking.take_look(uri, name, mine.shards, rule.metric, version, champion)
    interval = widened(found, rule.bootstrap.level, look, units)
    chance = one_sided(rule.bootstrap.level, look)
    figures = _own(mine, rule) | {"against": champion, "champion_value": theirs.outcome.mean, "above": rule.above}
    figures |= {"gain": interval.value, "low": interval.low, "high": interval.high, "level": 1.0 - 2.0 * chance}
    figures |= {"look": look, "alpha": chance, "specimens": len(_shared(mine, theirs))}
    outcome = "promoted" if interval.low > rule.above else "kept"
    return tracking.Decision(name, version, champion, outcome, _told(rule, interval, figures), figures)


def _paired(mine: Evidence, theirs: Evidence, rule: Rule, seed: int) -> tuple[Interval, int]:
    """The candidate's gain over the champion, above 0 where it is better, and how many gatherings were resampled."""
    if mine.shards != theirs.shards:
        raise ValueError(f"shards {mine.shards[:8]} and {theirs.shards[:8]} differ: these figures cannot be compared")
    samples = [Sample(_called("candidate"), mine.outcome), Sample(_called("champion"), theirs.outcome)]
    rows = compare(samples, rule.bootstrap, seed).to_pylist()
    if not rows:
        raise ValueError(f"{rule.metric}: fewer than two gatherings in common: no interval")
    ends = [rows[0][name] for name in ("difference", "low", "high")]
    if mine.outcome.lower_is_better:
        ends = [-ends[0], -ends[2], -ends[1]]
    shared = _shared(mine, theirs)
    units = {unit for one, unit in zip(mine.outcome.specimen_id, mine.outcome.units, strict=True) if one in shared}
    return Interval(*ends), len(units)


def _called(name: str) -> Identity:
    """One of two versions that are compared, whatever is known of them."""
    return Identity(model=name, encoder=name, objective="", kind=name, init="", start_kind="", seed=0)


def _shared(mine: Evidence, theirs: Evidence) -> set[str]:
    """Specimens that both were asked about."""
    return set(mine.outcome.specimen_id) & set(theirs.outcome.specimen_id)


def _told(rule: Rule, found: Interval, figures: Mapping[str, float | int | str]) -> str:
    level, chance = (100 * float(figures[name]) for name in ("level", "alpha"))
    verdict = "above" if found.low > rule.above else "not above"
    return (
        f"{rule.metric} against {figures['champion_value']:.4f} of version {figures['against']}: "
        f"gain {found.value:+.4f}, {level:.4g} % interval {found.low:+.4f} to {found.high:+.4f}, "
        f"lower end {verdict} {rule.above:g}; {figures['specimens']:,} specimens of shards "
        f"{str(figures['shards'])[:8]}; look {figures['look']} at this evaluation set, tested one-sided at "
        f"{chance:.3g} %; figures reported on split {rule.key[1]} are of specimens that were used for promotion"
    )


def narrowed(task: TaskSpec, split: str, level: str) -> tuple[TaskSpec, ...]:
    """The parts of a task that may score `level` on `split`: one where the level names a part, else all of them.

    Raises:
        ValueError: the split is none, or the task's settings do not allow it.
    """
    field = type(task).parallel_over
    settings = task.model_dump()
    if field is not None:
        try:
            return (type(task).model_validate(settings | {"splits": (split,), field: (level,)}),)
        except ValidationError:
            pass  # the parts are not named by their levels
    try:
        return type(task).model_validate(settings | {"splits": (split,)}).parts()
    except ValidationError as error:
        raise ValueError(f"task {task.name}: {error.errors()[0]['msg']}") from None
