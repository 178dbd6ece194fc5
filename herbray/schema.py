"""The vocabulary of herbray: ranks, splits and table schemas. No other module defines a column name."""

from dataclasses import dataclass, fields
from typing import Final

import pyarrow as pa

VERSION: Final = 3
"""Version of the schemas below; written into every manifest."""

RANKS: Final = ("order", "family", "genus", "species")
"""Taxonomic ranks, from the widest to the narrowest."""

SPLITS: Final = ("train", "validation", "herbarium", "species", "random", "unused")
"""In Walker et al. 2022, `herbarium` is H, `species` is S and `random` is R. `unused` rows belong to no split."""

TEST_SPLITS: Final = ("herbarium", "species", "random")
"""The splits on which encoders are tested."""

SPECIMEN: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string(), nullable=False),  # unique and stable
        pa.field("order", pa.string()),  # the four ranks: null if undetermined
        pa.field("family", pa.string()),
        pa.field("genus", pa.string()),
        pa.field("species", pa.string()),  # genus and epithet, e.g. "Rubus caesius"
        pa.field("institution", pa.string()),  # code, e.g. "NY"
        pa.field("gathering", pa.string()),  # collector + number + date: sheets that share them are duplicates
        pa.field("catalog_number", pa.string()),
        pa.field("license", pa.string()),
        pa.field("rights_holder", pa.string()),
        pa.field("reference", pa.string()),  # URL of the record
        pa.field("true_species", pa.string()),  # the correct name, if known (synthetic sheets, expert review)
    ]
)
"""The facts about a specimen; shards and embeddings repeat these columns."""

CATALOGUE: Final = SPECIMEN.insert(1, pa.field("image", pa.string(), nullable=False))
"""One row per specimen; `image` is a path or URI that has not been opened."""

MASK_BOXES: Final = "mask_boxes"
"""Name of the catalogue's optional column."""

MASKED_CATALOGUE: Final = CATALOGUE.append(
    pa.field("mask_boxes", pa.string()),  # "left top right bottom; …", the parts that do not show the plant, or "none"
)
"""One row per specimen; `image` has not been opened. `mask_boxes` is there only if the source has it."""

VERBATIM_NAME: Final = "verbatim_name"
"""Name of a column that only `catalogue.parquet` has, at its end: the name as the source writes it."""

SHARD: Final = pa.schema(
    [
        *SPECIMEN,
        pa.field("width", pa.int32(), nullable=False),  # pixels, after resizing
        pa.field("height", pa.int32(), nullable=False),
        pa.field("jpeg", pa.binary(), nullable=False),
    ]
)
"""One row per image; one row group per bag, whose images all have one label."""

_REPEATED: Final = pa.dictionary(pa.int32(), pa.string())

RIGHTS: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("media_license", _REPEATED),  # of the image: SPDX identifier; null if the text names no known licence
        pa.field("media_license_text", _REPEATED),  # of the image, as the publisher wrote it
        pa.field("record_license", _REPEATED),  # of the record: SPDX identifier
        pa.field("record_license_text", _REPEATED),  # of the record, as the publisher wrote it
    ]
)
"""One row per row of a catalogue that was read from Darwin Core: the rights in the image, and those in the record."""

INDEX: Final = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),  # relative to the shards folder
        pa.field("row_group", pa.int32(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # name at the rank on which encoders are trained
        pa.field("rows", pa.int32(), nullable=False),
    ]
)
"""One row per bag; the epoch plan needs nothing else from the shards, unless it balances herbaria."""

LINEAGE: Final = pa.schema(
    [pa.field("label", pa.string(), nullable=False), *(pa.field(rank, pa.string()) for rank in RANKS)]
)
"""One row per label: its names at all ranks that it has; the finest one is the label itself."""

FETCHED: Final = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),  # address, as the catalogue has it
        pa.field("file", pa.string(), nullable=False),  # relative to the folder; named by its content
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("format", pa.string(), nullable=False),  # "JPEG", "PNG", "TIFF" or "WEBP"
        pa.field("width", pa.int32(), nullable=False),  # pixels
        pa.field("height", pa.int32(), nullable=False),
        pa.field("request", pa.string(), nullable=False),  # the address that was asked for, before redirects
        pa.field("side", pa.int32(), nullable=False),  # short side asked of a IIIF server; 0: the image has one size
        pa.field("etag", pa.string(), nullable=False),  # of the reply, for asking whether the image has changed
        pa.field("modified", pa.string(), nullable=False),
        pa.field("fetched_at", pa.float64(), nullable=False),  # seconds since 1970
        pa.field("checked_at", pa.float64(), nullable=False),  # when the server last said that this is its image
    ]
)
"""One row per image that was fetched from the web."""

QUARANTINE: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string()),
        pa.field("image", pa.string()),
        pa.field("stage", pa.string(), nullable=False),  # "catalogue", "fetch" or "shard"
        pa.field("reason", pa.string(), nullable=False),  # a short stable code, e.g. "truncated"
        pa.field("detail", pa.string(), nullable=False),  # a sentence for people
    ]
)
"""One row per refused input, so that nothing is lost silently."""

DUPLICATE: Final = pa.schema(
    [
        pa.field("group", pa.string(), nullable=False),  # the smallest id in the group
        pa.field("kind", pa.string(), nullable=False),  # "image" (equal in the shards) or "near_image" (nearly equal)
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)
"""One row per specimen of the shards whose image is also that of another specimen."""

CONFLICT: Final = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # what is shared: "gathering", "file", "image", "near_image"
        pa.field("group", pa.string(), nullable=False),  # the gathering, the image file, or the smallest id
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),  # the widest rank at which names of the group differ
        pa.field("given", pa.string(), nullable=False),  # the name that the specimen is filed under, at this rank
        pa.field("suggested", pa.string(), nullable=False),  # the most frequent other name of the group
        pa.field("duplicates", pa.list_(pa.string()), nullable=False),  # ids of the specimens under other names
        pa.field("duplicate_names", pa.list_(pa.string()), nullable=False),  # their names, at this rank
        pa.field("image", pa.string()),  # path or URI
        pa.field("institution", pa.string()),
        pa.field("catalog_number", pa.string()),
        pa.field("reference", pa.string()),
    ]
)
"""One row per specimen of which a duplicate has another name. The catalogue's table has the kinds "gathering" and
"file", that of the shards "image" and "near_image"."""

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

SUSPECT: Final = pa.schema(
    [
        pa.field("place", pa.int32(), nullable=False),  # in the list, starting at 1
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),  # of the names: "genus", …
        pa.field("given", pa.string(), nullable=False),  # the name that the sheet is filed under
        pa.field("suggested", pa.string(), nullable=False),  # the most likely other name
        pa.field("given_probability", pa.float64(), nullable=False),
        pa.field("suggested_probability", pa.float64(), nullable=False),
        pa.field("wrong_probability", pa.float64(), nullable=False),  # that the given name is wrong; orders the list
        pa.field("suspected", pa.bool_(), nullable=False),  # the name is more probably wrong than right
        pa.field("kind", pa.string(), nullable=False),  # "name", "synonym"; "gathering", "image": it has several
        pa.field("neighbours", pa.list_(pa.string()), nullable=False),  # ids of the most similar sheets, nearest first
        pa.field("neighbour_names", pa.list_(pa.string()), nullable=False),  # the names that they are filed under
        pa.field("image", pa.string()),  # path or URI, if the catalogue is given
        pa.field("institution", pa.string()),
        pa.field("catalog_number", pa.string()),
        pa.field("reference", pa.string()),
    ]
)
"""The list for curators: one row per specimen, most doubtful first."""


SIMILAR: Final = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),  # path of the image, or id of the specimen, that was looked up
        pa.field("place", pa.int32(), nullable=False),  # 1 is the most similar sheet
        pa.field("distance", pa.float64(), nullable=False),  # 1 - cosine: 0 is equal, at most 2
        *(SPECIMEN.field(name) for name in SPECIMEN.names if name != "true_species"),
        pa.field("split", pa.string(), nullable=False),
    ]
)
"""What `herbray search` finds: the most similar sheets of each query, nearest first."""


NAMED: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string(), nullable=False),  # or the path of the photograph
        pa.field("image", pa.string()),  # path or URI
        *(SPECIMEN.field(rank) for rank in RANKS),  # as filed
        pa.field("name", pa.string()),  # the narrowest accepted suggestion; null if none is accepted
        pa.field("rank", pa.string()),  # of `name`
        pa.field("confidence", pa.float64()),  # that `name` is right, calibrated
        pa.field("unknown", pa.bool_()),  # none of the known names; null if this was not judged
        *(
            pa.field(f"{start}{rank}", kind)
            for rank in RANKS
            for start, kind in (("suggested_", pa.string()), ("confidence_", pa.float64()))
        ),
        pa.field("distance", pa.float64(), nullable=False),  # to the most similar named sheet, 1 - cosine
        pa.field("neighbours", pa.list_(pa.string()), nullable=False),  # ids of the most similar sheets, nearest first
        pa.field("neighbour_names", pa.list_(pa.string()), nullable=False),  # the names that they are filed under
        pa.field("work_list", pa.string(), nullable=False),  # file with the sheets of the same family
    ]
)
"""What `herbray identify` suggests: one row per sheet without a name or photograph, narrowest names first."""


VERDICT: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # of the row: the same row in two files counts once
        pa.field("at", pa.string(), nullable=False),  # when: UTC, "2026-03-01T09:30:00.000Z"
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),  # of the name
        pa.field("given", pa.string(), nullable=False),  # the name that the sheet was filed under when it was judged
        pa.field("verdict", pa.string(), nullable=False),  # "wrong", "right", "maybe" or "open" (withdrawn)
        pa.field("name", pa.string()),  # the right name at this rank, if the reviewer gave one
        pa.field("note", pa.string()),
    ]
)
"""What reviewers decided, in CSV: rows are only added. A reviewer's last row on a sheet, rank and given name counts."""


def embedding_schema(dim: int) -> pa.Schema:
    """The schema of an embeddings table with `dim` numbers per specimen.

    `split` is a column too, so that the splits of a folder can be read as one table.
    """
    return pa.schema(
        [
            *SPECIMEN,
            pa.field("split", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )
