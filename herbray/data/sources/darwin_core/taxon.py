"""The names and the gathering of a specimen, from the terms of its record."""

from functools import lru_cache
from typing import Final

from herbray.data.duplicates.gathering_key import make_gathering_key
from herbray.data.names.parse import parse_name
from herbray.data.sources.darwin_core.rows import Row

TAXON_TERMS: Final = (
    *("order", "family", "genus", "species", "specificepithet", "scientificname", "taxonrank"),
    *("recordedby", "recordnumber", "eventdate", "collectedby"),
)
"""The terms that this module reads."""

_RANKS_ABOVE: Final = frozenset(("kingdom", "phylum", "class", "order", "family", "genus", "subfamily", "tribe"))


def parse_species(row: Row) -> str | None:
    """The species name, genus and epithet: GBIF's `species`, else what the parts or `scientificName` say."""
    if row["species"]:
        return row["species"]
    if row["taxonrank"].lower() in _RANKS_ABOVE:
        return None
    parts = f"{row['genus']} {row['specificepithet']}" if row["genus"] and row["specificepithet"] else ""
    return _read_species(parts or row["scientificname"])


@lru_cache(maxsize=1 << 16)  # names repeat
def _read_species(name: str) -> str | None:
    return parse_name(name).species


def describe_gathering(row: Row) -> str | None:
    """Collector, number and date, by which duplicates are known; None without a collector or a number."""
    return make_gathering_key(row["recordedby"] or row["collectedby"], row["recordnumber"], row["eventdate"])
