"""Tables of specimens and their images: catalogue, fetched images, shards, embeddings."""

from typing import Final

import pyarrow as pa

from herbray.schema.vocabulary import RANKS

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
