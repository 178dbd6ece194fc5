"""The vocabulary of herbray: ranks, splits and the Arrow schema of each table. Nothing else defines a column name."""

from dataclasses import dataclass, fields
from typing import Final

import pyarrow as pa

VERSION: Final = 2
"""Version of the tables below; written into every manifest."""

RANKS: Final = ("order", "family", "genus", "species")
"""Taxonomic ranks, from the widest to the narrowest."""

SPLITS: Final = ("train", "validation", "herbarium", "species", "random", "unused")
"""Walker et al. 2022: H is `make_herbarium`, S is `species`, R is `random`; `unused` rows are in no split."""

TEST_SPLITS: Final = ("herbarium", "species", "random")

SPECIMEN: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string(), nullable=False),  # unique and stable
        pa.field("order", pa.string()),  # the four ranks: null where undetermined
        pa.field("family", pa.string()),
        pa.field("genus", pa.string()),
        pa.field("species", pa.string()),  # genus and epithet, e.g. "Rubus caesius"
        pa.field("institution", pa.string()),  # code, e.g. "NY"
        pa.field("gathering", pa.string()),  # collector + number + date: sheets that share it are duplicates
        pa.field("catalog_number", pa.string()),
        pa.field("license", pa.string()),
        pa.field("rights_holder", pa.string()),
        pa.field("reference", pa.string()),  # URL of the record
        pa.field("true_species", pa.string()),  # the right name where it is known (synthetic sheets, expert review)
    ]
)
"""What is known of a specimen: the columns that shards and embeddings repeat."""

CATALOGUE: Final = SPECIMEN.insert(1, pa.field("image", pa.string(), nullable=False))
"""One row a specimen; `image` is a path or URI and has not been opened."""

SHARD: Final = pa.schema(
    [
        *SPECIMEN,
        pa.field("width", pa.int32(), nullable=False),  # pixels, after resizing
        pa.field("height", pa.int32(), nullable=False),
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)
"""One row an image; one row group a bag, all of one genus."""

INDEX: Final = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),  # relative to the shards folder
        pa.field("row_group", pa.int32(), nullable=False),
        pa.field("genus", pa.string(), nullable=False),
        pa.field("rows", pa.int32(), nullable=False),
    ]
)
"""One row a bag: all that the epoch plan needs to know of the shards."""

QUARANTINE: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string()),
        pa.field("image", pa.string()),
        pa.field("stage", pa.string(), nullable=False),  # "catalogue" or "shard"
        pa.field("reason", pa.string(), nullable=False),  # a short stable code, e.g. "truncated"
        pa.field("detail", pa.string(), nullable=False),  # a sentence for people
    ]
)
"""One row a refused input: nothing is lost silently."""

UNTRAINED: Final = "untrained"
"""The objective of encoders that herbray has not trained: start weights, and other networks, evaluated as they are."""

WEIGHTS_DIGITS: Final = 16
"""So many digits at the start of an encoder's fingerprint are of its weights alone; the others are of its architecture
and of its input: stem, size, normalisation, geometry."""


@dataclass(frozen=True)
class Identity:
    """Which encoder a number is of: the first columns of results and outcomes.

    Attributes:
        model: what people call it: the label that its training gave it, else its objective.
        encoder: the key: fingerprint of the weights, the architecture and the input settings.
        objective: "triplet", "autoencoder", "classifier", … or `UNTRAINED`.
        kind: fingerprint of how it was made, the seed left out; numbers are averaged and compared by it.
        init: start weights as the settings name them: "random", "imagenet", …
        start_kind: the `kind` that its start weights have as an untrained encoder. Encoders that began with the same
            weights and differ only in their input settings share its first `WEIGHTS_DIGITS` digits.
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
        pa.field("fold", pa.int32(), nullable=False),  # cross-validation fold or draw; -1 where there is none
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""Long form: one row a number. MLflow and the report read it; nothing else computes a score."""

OUTCOME: Final = pa.schema(
    [
        *IDENTITY,
        *(RESULT.field(name) for name in ("task", "split", "level")),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("lower_is_better", pa.bool_(), nullable=False),
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),  # the metric is the weighted mean of the values
        pa.field("unit", pa.string(), nullable=False),  # a bootstrap draws it as one: gathering, or else specimen
    ]
)
"""One row a specimen and metric, folds and draws pooled: what intervals and comparisons are computed from."""


def _side(end: str) -> list[pa.Field]:
    """One of the two kinds that are compared."""
    names = ("model", "objective", "kind", "init", "start_kind")
    return [
        *(IDENTITY.field(name).with_name(f"{name}_{end}") for name in names),
        pa.field(f"seeds_{end}", pa.int32(), nullable=False),  # training runs
        pa.field(f"encoders_{end}", pa.list_(pa.string()), nullable=False),  # their fingerprints, in order of seed
    ]


COMPARISON: Final = pa.schema(
    [
        *(OUTCOME.field(name) for name in ("task", "split", "level", "metric", "lower_is_better")),
        *_side("a"),
        *_side("b"),
        pa.field("specimens", pa.int64(), nullable=False),  # that both have
        pa.field("difference", pa.float64(), nullable=False),  # mean of a less mean of b
        pa.field("low", pa.float64(), nullable=False),  # ends of the bootstrap interval of the difference
        pa.field("high", pa.float64(), nullable=False),
        pa.field("better", pa.string(), nullable=False),  # "a", "b" or "undecided"
    ]
)
"""One row a metric and two kinds of encoder, compared on the same specimens."""

LEFT_OUT: Final = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),  # a rank or a pair; "" for all of the task on this split
        pa.field("reason", pa.string(), nullable=False),  # what the labels lack, in words
    ]
)
"""One row a part of a task that the labels do not allow to be judged."""

TRIAL: Final = pa.schema(
    [
        pa.field("number", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # "finished", "stopped" (fell behind), "failed", "running"
        pa.field("cause", pa.string(), nullable=False),  # why it failed
        pa.field("epochs", pa.float64(), nullable=False),
        pa.field("score", pa.float64()),  # k-NN genus accuracy of validation; null before any
        pa.field("seconds", pa.float64(), nullable=False),  # in training steps
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row a trial of a sweep; further columns are the settings that were searched, by dotted path."""

SUSPECT: Final = pa.schema(
    [
        pa.field("place", pa.int32(), nullable=False),  # in the list, from 1
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),  # of the names: "genus", …
        pa.field("given", pa.string(), nullable=False),  # the name it is filed under
        pa.field("suggested", pa.string(), nullable=False),  # the likeliest other name
        pa.field("given_probability", pa.float64(), nullable=False),
        pa.field("suggested_probability", pa.float64(), nullable=False),
        pa.field("suspected", pa.bool_(), nullable=False),  # by confident learning
        pa.field("neighbours", pa.list_(pa.string()), nullable=False),  # ids of the most similar sheets, nearest first
        pa.field("neighbour_names", pa.list_(pa.string()), nullable=False),  # what those are filed under
        pa.field("image", pa.string()),  # path or URI, where the catalogue is at hand
        pa.field("institution", pa.string()),
        pa.field("catalog_number", pa.string()),
        pa.field("reference", pa.string()),
    ]
)
"""A curators' list: one row a specimen, most doubtful first."""


def embedding_schema(dim: int) -> pa.Schema:
    """Columns of an embeddings table of `dim` numbers a specimen.

    `split` is a column too, so that a folder of several splits reads as one table.
    """
    return pa.schema(
        [
            *SPECIMEN,
            pa.field("split", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )
