"""The label of a specimen: its name at the rank on which encoders are trained."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec


class Labels(Spec):
    """What encoders learn to distinguish."""

    rank: Literal["genus", "species", "family", "order"] = Field(
        "genus", description="rank of the names that encoders are trained on; sheets without such a name are not used"
    )


def read_labels(catalogue: pa.Table, rank: str) -> pa.ChunkedArray:
    """Read the label of each specimen.

    At rank species, an epithet that is written without its genus gets the genus before it, because epithets repeat
    between genera.

    Args:
        catalogue: rows with the columns of the ranks.
        rank: one of `herbray.schema.RANKS`.

    Returns:
        String [n]; null where the specimen has no name at the rank.
    """
    names = catalogue[rank]
    if rank != "species":
        return names
    genus = catalogue["genus"]
    is_bare = pc.and_kleene(pc.is_valid(genus), pc.invert(pc.match_substring_regex(names, r"[\s_]")))
    return pc.if_else(pc.fill_null(is_bare, False), pc.binary_join_element_wise(genus, names, " "), names)
