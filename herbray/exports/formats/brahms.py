"""Determinations for BRAHMS: a CSV file that is opened in its import, where columns are mapped to fields.

BRAHMS publishes no template for determinations; the columns follow the names of its fields.
"""

from pathlib import Path
from typing import Final

from herbray.exports.batch import Batch, Opinion, Written
from herbray.exports.determinations import Cells, write_determinations
from herbray.exports.texts import clean_line, split_name, write_remark

_PARTS: Final = {"order": "OrderName", "family": "FamilyName", "genus": "GenusName", "species": "SpeciesName"}

COLUMNS: Final = dict.fromkeys(
    ("Barcode", *_PARTS.values(), "DetBy", "DetDay", "DetMonth", "DetYear", "DetStatus", "DetNotes", "Current")
)
"""Column → longest text: BRAHMS says when a text is too long."""


def write(batch: Batch, folder: Path) -> Written:
    """Write `brahms-determinations.csv`."""
    return write_determinations(batch, folder / "brahms-determinations.csv", COLUMNS, ("Barcode", "DetBy"), _fill)


def _fill(opinion: Opinion, batch: Batch) -> Cells:
    year, month, day = [*opinion.date.split("-"), "", "", ""][:3]
    return {
        "Barcode": opinion.sheet[batch.key] or "",
        **{_PARTS[rank]: part for rank, part in split_name(clean_line(opinion.name), opinion.rank).items()},
        "DetBy": clean_line(opinion.by) or "unknown",
        "DetDay": day,
        "DetMonth": month,
        "DetYear": year,
        "DetStatus": "machine suggestion, unverified" if opinion.is_machine else "judged by images",
        "DetNotes": write_remark(opinion, batch),
        "Current": "Y" if batch.is_current(opinion) else "N",
    }
