"""The names and the gathering of a specimen, from the terms of its record."""

import re
from typing import Final

from herbray.data.names.parse import parse_name
from herbray.data.sources.darwin_core.rows import Row

TAXON_TERMS: Final = (
    *("order", "family", "genus", "species", "specificepithet", "scientificname", "taxonrank"),
    *("recordedby", "recordnumber", "eventdate", "collectedby"),
)
"""The terms that this module reads."""

_NO_NUMBERS: Final = frozenset(("sn", "nn", "na", "none", "unknown"))
_RANKS_ABOVE: Final = frozenset(("kingdom", "phylum", "class", "order", "family", "genus", "subfamily", "tribe"))


def parse_species(row: Row) -> str | None:
    """The species name, genus and epithet: GBIF's `species`, else what the parts or `scientificName` say."""
    if row["species"]:
        return row["species"]
    if row["taxonrank"].lower() in _RANKS_ABOVE:
        return None
    parts = f"{row['genus']} {row['specificepithet']}" if row["genus"] and row["specificepithet"] else ""
    return parse_name(parts or row["scientificname"]).species


def describe_gathering(row: Row) -> str | None:
    """Collector, number and date, by which duplicates are known; None without a collector or a number."""
    collector, number = row["recordedby"] or row["collectedby"], row["recordnumber"]
    if not collector or not number or re.sub(r"\W", "", number).lower() in _NO_NUMBERS:
        return None
    date = row["eventdate"].partition("T")[0]
    return " | ".join(part for part in (collector, number, date) if part)
