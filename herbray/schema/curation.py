"""Tables for curators: doubtful names, similar sheets, suggested names, verdicts."""

from typing import Final

import pyarrow as pa

from herbray.schema.specimens import SPECIMEN
from herbray.schema.vocabulary import RANKS

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
