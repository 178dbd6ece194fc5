"""Candidate against champion: what earns the alias, and the paired comparison on the same specimens."""

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
from herbray.tasks.bootstrap import Bootstrap, Sample, compare


class Rule(Spec):
    """What earns the alias `champion`: the interval of a paired difference, on one metric of one evaluation set."""

    metric: str = Field("identify/random/genus/accuracy", description="task/split/level/metric")
    above: float = Field(0.0, description="the lower end of the interval of the gain must lie above it")
    bootstrap: Bootstrap = Bootstrap()

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
    decision = _judge(name, version, seen.champion, mine, theirs, rule, seed)
    tracking.decide(uri, decision, seen)
    return decision


def already(name: str, version: int) -> tracking.Decision:
    """There is nothing to decide of the champion itself, and nothing is written: how it was earned stays on record."""
    return tracking.Decision(name, version, version, "kept", "it is champion already")


def _judge(
    name: str,
    version: int,
    champion: int | None,
    mine: Evidence | None,
    theirs: Evidence | None,
    rule: Rule,
    seed: int,
) -> tracking.Decision:
    own: dict[str, float | int | str] = {}
    if mine is not None:
        own = {"metric": rule.metric, "shards": mine.shards, "value": mine.outcome.mean}
    score = f"{rule.metric} {mine.outcome.mean:.4f} on shards {mine.shards[:8]}" if mine is not None else "not compared"
    if champion is None:
        return tracking.Decision(name, version, None, "promoted", f"the first champion, {score}", own)
    if mine is None or theirs is None:
        raise ValueError(f"{rule.metric} is not known of both version {version} and version {champion} of {name}")
    found = _paired(mine, theirs, rule, seed)
    better = found["low"] > rule.above
    figures = {**own, **found, "against": champion, "above": rule.above, "level": rule.bootstrap.level}
    reason = _told(rule, found, champion, mine.shards)
    return tracking.Decision(name, version, champion, "promoted" if better else "kept", reason, figures)


def _paired(mine: Evidence, theirs: Evidence, rule: Rule, seed: int) -> dict[str, float]:
    """The candidate's gain over the champion, above 0 where it is better, with its interval."""
    if mine.shards != theirs.shards:
        raise ValueError(f"shards {mine.shards[:8]} and {theirs.shards[:8]} differ: these figures cannot be compared")
    samples = [Sample(_called("candidate"), mine.outcome), Sample(_called("champion"), theirs.outcome)]
    rows = compare(samples, rule.bootstrap, seed).to_pylist()
    if not rows:
        raise ValueError(f"{rule.metric}: fewer than two gatherings in common: no interval")
    low, high = rows[0]["low"], rows[0]["high"]
    gain = rows[0]["difference"]
    if mine.outcome.lower_is_better:
        gain, low, high = -gain, -high, -low
    ends = {"gain": gain, "low": low, "high": high}
    return ends | {"champion_value": theirs.outcome.mean, "specimens": rows[0]["specimens"]}


def _called(name: str) -> Identity:
    """One of two versions that are compared, whatever is known of them."""
    return Identity(model=name, encoder=name, objective="", kind=name, init="", start_kind="", seed=0)


def _told(rule: Rule, found: dict[str, float], champion: int, shards: str) -> str:
    limit = f"{rule.above:g}"
    verdict = f"above {limit}" if found["low"] > rule.above else f"not above {limit}"
    return (
        f"{rule.metric} against {found['champion_value']:.4f} of version {champion}: gain {found['gain']:+.4f}, "
        f"{100 * rule.bootstrap.level:g} % interval {found['low']:+.4f} to {found['high']:+.4f}, lower end {verdict}; "
        f"{found['specimens']:,} specimens of shards {shards[:8]}"
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
