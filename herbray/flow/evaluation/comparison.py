"""The comparison of a candidate with the champion on the same specimens, and the rule that decides which one wins."""

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
from herbray.tasks.interface.validators import suggest_name
from herbray.tasks.methods.bootstrap import Bootstrap, Sample, compare_kinds
from herbray.tasks.methods.looks import Interval, one_sided_error, widen_interval


class PromotionRule(Spec):
    """When a candidate becomes champion: if the interval of its paired gain in one metric lies above a bound."""

    metric: str = Field("identify/random/genus/accuracy", description="task/split/level/metric")
    above: float = Field(0.0, description="the lower end of the interval of the gain must be above this value")
    bootstrap: Bootstrap = Bootstrap()

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        parts = self.metric.split("/")
        if len(parts) != 4 or not all(parts):
            raise ValueError(f"metric {self.metric!r}: write task/split/level/metric")
        if parts[0] not in TASKS:
            raise ValueError(f"metric {self.metric!r}: no task {parts[0]!r}; {suggest_name(parts[0], tuple(TASKS))}")
        if self.bootstrap.resamples < 100:
            raise ValueError(f"bootstrap.resamples={self.bootstrap.resamples}: an interval needs 100 or more")
        return self

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Task, split, level and metric."""
        task, split, level, metric = self.metric.split("/")
        return task, split, level, metric


def _parse_rule(value: object) -> object:
    return {"metric": value} if isinstance(value, str) else value


AnyRule = Annotated[PromotionRule, BeforeValidator(_parse_rule)]
"""A rule, or only its metric as text."""


@dataclass(frozen=True)
class Evidence:
    """What the comparison uses of one version.

    Attributes:
        shards: fingerprint of the shards of the evaluation set.
        outcome: the contribution of each specimen to the rule's metric.
    """

    shards: str
    outcome: Outcome


def find_evidence(shards: str, outcomes: pa.Table, rule: PromotionRule) -> Evidence | None:
    """The evidence in an encoder's outcomes; None if the rule's metric was not measured.

    Args:
        shards: fingerprint of the shards of the evaluation set.
        outcomes: outcomes of one encoder, in `schema.OUTCOME`.
        rule: the rule that names the metric.
    """
    for name, value in zip(("task", "split", "level", "metric"), rule.key, strict=True):
        outcomes = outcomes.filter(pc.equal(outcomes[name], value))
    if not outcomes.num_rows:
        return None
    arrays = {name: outcomes[name].to_numpy() for name in ("specimen_id", "value", "weight", "unit")}
    return Evidence(shards, Outcome(*rule.key, **arrays, lower_is_better=outcomes["lower_is_better"][0].as_py()))


def judge_candidate(
    uri: str,
    name: str,
    version: int,
    standing: tracking.Standing,
    mine: Evidence | None,
    theirs: Evidence | None,
    rule: PromotionRule,
    seed: int,
) -> tracking.Decision:
    """Decide whether a version becomes champion, and move the alias if it does.

    This is the only place where evidence moves the alias.

    Args:
        uri: address of the registry.
        name: name of the registered model.
        version: the candidate.
        standing: the standing before the evidence was computed.
        mine: the candidate's evidence; may be None only if there is no champion.
        theirs: the champion's evidence on the same shards; None if there is no champion, or the champion is the
            candidate.
        rule: the rule of promotion.
        seed: seed of the bootstrap.

    Raises:
        ValueError: the evidence does not allow a comparison.
        tracking.PromotionOvertaken: the alias was moved in the meantime.
    """
    if standing.champion == version:
        return already_champion(name, version)
    if standing.champion is None:
        decision = _first_champion(name, version, mine, rule)
    elif mine is None or theirs is None:
        raise ValueError(
            f"{rule.metric} was not measured for both version {version} and version {standing.champion} of {name}"
        )
    else:
        decision = _compare(uri, name, version, standing.champion, mine, theirs, rule, seed)
    tracking.apply_decision(uri, decision, standing)
    return decision


def already_champion(name: str, version: int) -> tracking.Decision:
    """The decision about the champion itself. It is not written, so the record of its promotion stays."""
    return tracking.Decision(name, version, version, "kept", "it is champion already")


def _first_champion(name: str, version: int, mine: Evidence | None, rule: PromotionRule) -> tracking.Decision:
    """The decision for a model without a champion: the candidate is promoted without a comparison."""
    if mine is None:
        return tracking.Decision(name, version, None, "promoted", "the first champion, not compared")
    reason = f"the first champion, {rule.metric} {mine.outcome.mean:.4f} on shards {mine.shards[:8]}"
    return tracking.Decision(name, version, None, "promoted", reason, _own_figures(mine, rule))


def _own_figures(mine: Evidence, rule: PromotionRule) -> dict[str, float | int | str]:
    return {"metric": rule.metric, "shards": mine.shards, "value": mine.outcome.mean}


def _compare(
    uri: str, name: str, version: int, champion: int, mine: Evidence, theirs: Evidence, rule: PromotionRule, seed: int
) -> tracking.Decision:
    """Promote the candidate if the interval, widened for earlier looks at the evaluation set, is above the bound."""
    found, units = _paired_gain(mine, theirs, rule, seed)
    look = tracking.record_look(uri, name, mine.shards, rule.metric, version, champion)
    interval = widen_interval(found, rule.bootstrap.level, look, units)
    chance = one_sided_error(rule.bootstrap.level, look)
    figures = _own_figures(mine, rule) | {
        "against": champion,
        "champion_value": theirs.outcome.mean,
        "above": rule.above,
    }
    figures |= {"gain": interval.value, "low": interval.low, "high": interval.high, "level": 1.0 - 2.0 * chance}
    figures |= {"look": look, "alpha": chance, "specimens": len(_common_specimens(mine, theirs))}
    outcome = "promoted" if interval.low > rule.above else "kept"
    return tracking.Decision(name, version, champion, outcome, _explain(rule, interval, figures), figures)


def _paired_gain(mine: Evidence, theirs: Evidence, rule: PromotionRule, seed: int) -> tuple[Interval, int]:
    """The interval of the candidate's gain, above 0 if it is better, and the number of gatherings resampled."""
    if mine.shards != theirs.shards:
        raise ValueError(
            f"the versions were evaluated on different shards, {mine.shards[:8]} and {theirs.shards[:8]}: evaluate "
            "both on the same shards"
        )
    samples = [Sample(_side("candidate"), mine.outcome), Sample(_side("champion"), theirs.outcome)]
    rows = compare_kinds(samples, rule.bootstrap, seed).to_pylist()
    if not rows:
        raise ValueError(f"{rule.metric}: the versions have fewer than two gatherings in common: no interval")
    ends = [rows[0][name] for name in ("difference", "low", "high")]
    if mine.outcome.lower_is_better:
        ends = [-ends[0], -ends[2], -ends[1]]
    shared = _common_specimens(mine, theirs)
    units = {unit for key, unit in zip(mine.outcome.specimen_id, mine.outcome.units, strict=True) if key in shared}
    return Interval(*ends), len(units)


def _side(name: str) -> Identity:
    """A stand-in identity for one side of the comparison."""
    return Identity(model=name, encoder=name, objective="", kind=name, init="", start_kind="", seed=0)


def _common_specimens(mine: Evidence, theirs: Evidence) -> set[str]:
    """Specimens in the evidence of both versions."""
    return set(mine.outcome.specimen_id) & set(theirs.outcome.specimen_id)


def _explain(rule: PromotionRule, found: Interval, figures: Mapping[str, float | int | str]) -> str:
    level, chance = (100 * float(figures[name]) for name in ("level", "alpha"))
    verdict = "above" if found.low > rule.above else "not above"
    return (
        f"{rule.metric} against {figures['champion_value']:.4f} of version {figures['against']}: "
        f"gain {found.value:+.4f}, {level:.4g} % interval {found.low:+.4f} to {found.high:+.4f}, "
        f"lower end {verdict} {rule.above:g}; {figures['specimens']:,} specimens of shards "
        f"{str(figures['shards'])[:8]}; look {figures['look']} at this evaluation set, tested one-sided at "
        f"{chance:.3g} %; figures reported on split {rule.key[1]} are of specimens that were used for promotion"
    )


def narrow_task(task: TaskSpec, split: str, level: str) -> tuple[TaskSpec, ...]:
    """The parts of a task that may score `level` on `split`: one part if the level names it, otherwise all parts.

    Raises:
        ValueError: there is no such split, or the task's settings do not allow it.
    """
    field = type(task).parallel_over
    settings = task.model_dump()
    if field is not None:
        try:
            return (type(task).model_validate(settings | {"splits": (split,), field: (level,)}),)
        except ValidationError:
            pass  # the task's parts do not have the names of levels
    try:
        return type(task).model_validate(settings | {"splits": (split,)}).parts()
    except ValidationError as error:
        raise ValueError(f"task {task.name}: {error.errors()[0]['msg']}") from None
