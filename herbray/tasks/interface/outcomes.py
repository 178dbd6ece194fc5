"""The result of a task: its scores, and the contribution of each specimen to them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from herbray import schema


@dataclass(frozen=True)
class Score:
    """One number of one task: a row of `schema.RESULT` without the encoder's columns.

    Raises:
        ValueError: the value is not finite. An undefined metric has no score.
    """

    task: str
    split: str
    level: str
    fold: int
    metric: str
    value: float

    def __post_init__(self) -> None:
        """Refuse a value that would spoil a mean."""
        if not np.isfinite(self.value):
            raise ValueError(f"{self.task}, {self.split}, {self.level}, fold {self.fold}: {self.metric} = {self.value}")


@dataclass(frozen=True, eq=False)
class Outcome:
    """A metric as the weighted mean of one value per specimen, which a bootstrap can resample.

    Folds and draws are pooled, so each specimen occurs once.

    Attributes:
        task: name of the task; `split`, `level` and `metric` are as in the scores.
        specimen_id: [n].
        value: [n], e.g. 1 if the specimen was named correctly, else 0.
        weight: [n], at least 0 and somewhere above; e.g. 1 for accuracy, 1 / class size for balanced accuracy.
        lower_is_better: true for e.g. a false-positive rate.
        unit: [n] resampling unit of each specimen, such as its gathering: sheets of one gathering are alike and are
            drawn together. None: each specimen is a unit.

    Raises:
        ValueError: the arrays differ in length, a number is not finite, a weight is negative, or no weight is above 0.
    """

    task: str
    split: str
    level: str
    metric: str
    specimen_id: npt.NDArray[np.object_]
    value: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    lower_is_better: bool = False
    unit: npt.NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that have no weighted mean."""
        where = f"{self.task}, {self.split}, {self.level}, {self.metric}"
        if not len(self.specimen_id) == len(self.value) == len(self.weight):
            raise ValueError(f"{where}: ids, values and weights differ in length")
        if len(self.units) != len(self.value):
            raise ValueError(f"{where}: units and values differ in length")
        if not (np.isfinite(self.value).all() and np.isfinite(self.weight).all()):
            raise ValueError(f"{where}: a value or a weight is not finite")
        if (self.weight < 0).any() or not (self.weight > 0).any():
            raise ValueError(f"{where}: weights must be at least 0, and at least one must be positive")

    @property
    def units(self) -> npt.NDArray[np.object_]:
        """[n] the resampling unit of each specimen."""
        return self.specimen_id if self.unit is None else self.unit

    @property
    def mean(self) -> float:
        """The metric over pooled folds and draws."""
        return float(self.value @ self.weight / self.weight.sum())


@dataclass(frozen=True, eq=False)
class Measurement:
    """All that a task measured: scores, and outcomes of the metrics that are means over specimens."""

    scores: list[Score] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __add__(self, other: "Measurement") -> "Measurement":
        """Concatenate two measurements."""
        return Measurement(self.scores + other.scores, self.outcomes + other.outcomes)


@dataclass(frozen=True)
class Place:
    """Task, split and level of results; makes scores and outcomes for them."""

    task: str
    split: str
    level: str

    def scores(self, values: Mapping[str, float], fold: int = -1) -> list[Score]:
        """One score per metric; values that are not finite are left out."""
        found = {metric: float(value) for metric, value in values.items()}
        return [
            Score(self.task, self.split, self.level, fold, metric, value)
            for metric, value in found.items()
            if np.isfinite(value)
        ]

    def outcomes(
        self,
        metric: str,
        specimen_id: npt.NDArray[np.object_],
        value: npt.ArrayLike,
        weight: npt.ArrayLike = 1.0,
        *,
        lower_is_better: bool = False,
    ) -> list[Outcome]:
        """At most one outcome; the list is empty if no specimen has weight.

        List every specimen that may have weight for any encoder: encoders are compared on the specimens that all of
        them list.
        """
        values = np.asarray(value, dtype=np.float64)
        weights = np.broadcast_to(np.asarray(weight, dtype=np.float64), values.shape)
        if not (weights > 0).any():
            return []
        return [Outcome(self.task, self.split, self.level, metric, specimen_id, values, weights, lower_is_better)]

    def hit_outcomes(
        self, specimen_id: npt.NDArray[np.object_], hit: npt.NDArray[np.bool_], classes: npt.NDArray[np.intp]
    ) -> list[Outcome]:
        """`accuracy` and `balanced_accuracy` of specimens that were named correctly or not.

        Args:
            specimen_id: [n].
            hit: [n].
            classes: [n] true classes, as numbers; each class has the same weight in the balanced accuracy.
        """
        share = 1.0 / np.bincount(classes)[classes]
        return [
            *self.outcomes("accuracy", specimen_id, hit),
            *self.outcomes("balanced_accuracy", specimen_id, hit, share),
        ]


def to_result_table(scores: Sequence[Score], identity: schema.Identity) -> pa.Table:
    """Scores of one encoder as a `schema.RESULT` table, in the same order."""
    own = {name: [getattr(score, name) for score in scores] for name in Score.__dataclass_fields__}
    encoder = {name: [value] * len(scores) for name, value in asdict(identity).items()}
    return pa.table({**encoder, **own}, schema=schema.RESULT)


def to_outcome_table(outcomes: Sequence[Outcome], identity: schema.Identity) -> pa.Table:
    """Outcomes of one encoder as a `schema.OUTCOME` table, in the same order."""
    tables = [_outcome_rows(outcome, identity) for outcome in outcomes]
    return pa.concat_tables(tables) if tables else schema.OUTCOME.empty_table()


def _outcome_rows(outcome: Outcome, identity: schema.Identity) -> pa.Table:
    keys: dict[str, str | int | bool] = asdict(identity)
    keys |= {name: getattr(outcome, name) for name in ("task", "split", "level", "metric", "lower_is_better")}
    columns = {name: pa.repeat(value, len(outcome.value)) for name, value in keys.items()}
    columns |= {name: pa.array(getattr(outcome, name)) for name in ("specimen_id", "value", "weight")}
    columns["unit"] = pa.array(outcome.units)
    return pa.table({name: columns[name].cast(schema.OUTCOME.field(name).type) for name in schema.OUTCOME.names}).cast(
        schema.OUTCOME
    )
