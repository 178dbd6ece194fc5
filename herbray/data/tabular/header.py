"""Names of columns: found in any case, with any blanks and in any Unicode form."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_BLANKS: Final = re.compile(r"[\s_\-\u200b\ufeff]+")

USUAL_NAMES: Final = {
    "image": "file file_name filename path file_path filepath image_path image_file image_name img photo picture scan",
    "specimen_id": "barcode id specimen occurrence_id occurrenceid",
    "species": "scientific_name scientificname taxon taxon_name name full_name label class",
    "institution": "institution_code institutioncode herbarium herbarium_code collection_code",
    "gathering": "collection_event sheet event_id",
    "recorded_by": "recordedby collector collectors collected_by collector_name coll leg legit",
    "record_number": "recordnumber collector_number collection_number collecting_number coll_no field_number number",
    "event_date": "eventdate date collection_date collecting_date date_collected",
    "catalog_number": "catalognumber accession accession_number",
    "license": "licence rights",
    "rights_holder": "rightsholder",
    "reference": "references url link",
}
"""Catalogue column → the usual names of such a column, in the form of `fold`; only proposed, never taken unasked."""


def fold(name: str) -> str:
    """Return what two spellings of a column's name share: "Specimen-ID " and "specimen_id" give "specimen_id"."""
    return _BLANKS.sub("_", unicodedata.normalize("NFKC", name).casefold()).strip("_")


def find_positions(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the folded name of each named column → its position.

    Raises:
        ValueError: no column has a name, or two have the same.
    """
    positions: dict[str, int] = {}
    for position, name in enumerate(header):
        key = fold(name)
        if key in positions:
            first = positions[key]
            raise ValueError(
                f"{path}: the header names {name.strip()} more than once (columns {first + 1} and {position + 1}); "
                "rename one"
            )
        if key:
            positions[key] = position
    if not positions:
        raise ValueError(f"{path}: empty; write a header line, then one line per image")
    return positions


def propose(column: str, header: Sequence[str]) -> str | None:
    """Propose the column of a table that may hold a column of the catalogue; None if no name is near."""
    by_key = {fold(name): name.strip() for name in reversed(header) if fold(name)}
    for key in [column, *USUAL_NAMES.get(column, "").split()]:
        if key in by_key:
            return by_key[key]
    near = difflib.get_close_matches(column, by_key, n=1, cutoff=0.8)
    return by_key[near[0]] if near else None
