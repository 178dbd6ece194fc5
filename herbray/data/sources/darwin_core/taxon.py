"""The names and the gathering of a specimen, from the terms of its record."""

import re
from typing import Final

from herbray.data.sources.darwin_core.rows import Row

TAXON_TERMS: Final = (
    *("order", "family", "genus", "species", "specificepithet", "scientificname", "taxonrank"),
    *("recordedby", "recordnumber", "eventdate", "collectedby"),
)
"""The terms that this module reads."""

_EPITHET: Final = re.compile(r"^(?:[×x]\s?)?[^\W\d_A-Z][^\W\d_]+(?:-[^\W\d_]+)*$")
_NO_EPITHETS: Final = frozenset(("sp", "spp", "indet", "cf", "aff", "ssp", "subsp", "var", "hybrid", "nov", "species"))
_NO_NUMBERS: Final = frozenset(("sn", "nn", "na", "none", "unknown"))
_RANKS_ABOVE: Final = frozenset(("kingdom", "phylum", "class", "order", "family", "genus", "subfamily", "tribe"))


def parse_species(row: Row) -> str | None:
    """The species name, genus and epithet: GBIF's `species`, else the parts, else the start of `scientificName`."""
    if row["species"]:
        return row["species"]
    if row["taxonrank"].lower() in _RANKS_ABOVE:
        return None
    if row["genus"] and _is_epithet(row["specificepithet"]):
        return f"{row['genus']} {row['specificepithet']}"
    words = row["scientificname"].split()
    if len(words) > 2 and words[1] in ("×", "x"):
        words[1:3] = [f"{words[1]} {words[2]}"]
    return " ".join(words[:2]) if len(words) > 1 and _is_epithet(words[1]) else None


def _is_epithet(word: str) -> bool:
    return bool(_EPITHET.match(word)) and word.rstrip(".").lower() not in _NO_EPITHETS


def describe_gathering(row: Row) -> str | None:
    """Collector, number and date, by which duplicates are known; None without a collector or a number."""
    collector, number = row["recordedby"] or row["collectedby"], row["recordnumber"]
    if not collector or not number or re.sub(r"\W", "", number).lower() in _NO_NUMBERS:
        return None
    date = row["eventdate"].partition("T")[0]
    return " | ".join(part for part in (collector, number, date) if part)
