"""Tables of scores: results, outcomes, comparisons, trials."""

from dataclasses import dataclass, fields
from typing import Final

import pyarrow as pa

UNTRAINED: Final = "untrained"
"""The objective of encoders that herbray has not trained: start weights and published networks."""

WEIGHTS_DIGITS: Final = 16
"""Number of leading digits of an encoder's fingerprint that identify its weights.

The other digits identify its architecture and its input: stem, size, normalisation, geometry.
"""


@dataclass(frozen=True)
class Identity:
    """Which encoder a number belongs to: the first columns of results and outcomes.

    Attributes:
        model: name for people: the label of its training, else its objective.
        encoder: the key: fingerprint of the weights, the architecture and the input settings.
        objective: "triplet", "autoencoder", "classifier", … or `UNTRAINED`.
        kind: fingerprint of how the encoder was made, without the seed; numbers are averaged and compared by kind.
        init: its start weights as named in the settings: "random", "imagenet", …
        start_kind: the `kind` of its start weights as an untrained encoder. Encoders with the same start weights that
            differ only in their input settings share its first `WEIGHTS_DIGITS` digits.
        seed: of the training run.
    """

    model: str
    encoder: str
    objective: str
    kind: str
    init: str
    start_kind: str
    seed: int


IDENTITY: Final = pa.schema(
    [
        pa.field(each.name, pa.int64() if each.name == "seed" else pa.string(), nullable=False)
        for each in fields(Identity)
    ]
)
"""The columns of an `Identity`."""

RESULT: Final = pa.schema(
    [
        *IDENTITY,
        pa.field("task", pa.string(), nullable=False),  # a key of herbray.tasks.TASKS
        pa.field("split", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),  # a rank, or a pair "Syzygium–Eugenia"
        pa.field("fold", pa.int32(), nullable=False),  # cross-validation fold or draw; -1 if there is none
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""Long form: one row per number. MLflow and the report read these numbers and compute no scores themselves."""

OUTCOME: Final = pa.schema(
    [
        *IDENTITY,
        *(RESULT.field(name) for name in ("task", "split", "level")),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("lower_is_better", pa.bool_(), nullable=False),
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),  # the metric is the weighted mean of the values
        pa.field(
            "unit", pa.string(), nullable=False
        ),  # drawn as a whole by the bootstrap: the gathering, else the specimen
    ]
)
"""One row per specimen and metric, folds and draws pooled. Intervals and comparisons are computed from these rows."""


def _side(end: str) -> list[pa.Field]:
    """The columns of one of the two kinds in a comparison."""
    names = ("model", "objective", "kind", "init", "start_kind")
    return [
        *(IDENTITY.field(name).with_name(f"{name}_{end}") for name in names),
        pa.field(f"seeds_{end}", pa.int32(), nullable=False),  # training runs
        pa.field(f"encoders_{end}", pa.list_(pa.string()), nullable=False),  # fingerprints, in order of seed
    ]


COMPARISON: Final = pa.schema(
    [
        *(OUTCOME.field(name) for name in ("task", "split", "level", "metric", "lower_is_better")),
        *_side("a"),
        *_side("b"),
        pa.field("specimens", pa.int64(), nullable=False),  # that both kinds have
        pa.field("difference", pa.float64(), nullable=False),  # mean of a minus mean of b
        pa.field("low", pa.float64(), nullable=False),  # ends of the bootstrap interval of the difference
        pa.field("high", pa.float64(), nullable=False),
        pa.field("better", pa.string(), nullable=False),  # "a", "b" or "undecided"
    ]
)
"""One row per metric and pair of kinds, compared on the same specimens."""

LEFT_OUT: Final = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),  # a rank or a pair; "" for the whole task on this split
        pa.field("reason", pa.string(), nullable=False),  # what the labels lack, as text
    ]
)
"""One row per part of a task that cannot be evaluated with these labels."""

TRIAL: Final = pa.schema(
    [
        pa.field("number", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # "finished", "stopped" (fell behind), "failed", "running"
        pa.field("cause", pa.string(), nullable=False),  # why it failed
        pa.field("epochs", pa.float64(), nullable=False),
        pa.field("score", pa.float64()),  # k-NN accuracy of validation; null before the first validation
        pa.field("seconds", pa.float64(), nullable=False),  # in training steps
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per trial of a sweep; further columns are the searched settings, by dotted path."""
