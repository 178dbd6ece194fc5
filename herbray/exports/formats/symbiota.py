"""Determinations for Symbiota's "Extended Data Import", import type "Determinations".

The columns, and which of them are required, are those of the page "Importing Determinations" of the Symbiota Docs
(github.com/BioKIC/symbiota-docs, content/portal_manager/determinations, 2024-06-06). The longest texts are those of the
table `omoccurdeterminations` in schema 3.0 of github.com/Symbiota/Symbiota: a longer text makes MySQL refuse the row.
"""

from pathlib import Path
from typing import Final

from herbray.exports.batch import Batch, Opinion, Written
from herbray.exports.determinations import Cells, write_determinations
from herbray.exports.texts import clean_line, write_remark

SUBJECTS: Final = {"catalog_number": ("catalogNumber", 32), "specimen_id": ("occurrenceID", 255)}
"""Setting `key` → column by which Symbiota finds the specimen, and its longest text.

Only one of them is written: Symbiota adds a determination to every specimen that matches either.
"""

COLUMNS: Final = {
    "identifiedBy": 255,
    "dateIdentified": 45,
    "sciname": 255,
    "isCurrent": 1,
    "identificationVerificationStatus": 45,
    "identificationRemarks": 2000,
    "sourceIdentifier": 45,
}
"""Column → longest text."""

_UNKNOWN_PERSON: Final = "unknown"
_UNKNOWN_DATE: Final = "s.d."


def write(batch: Batch, folder: Path) -> Written:
    """Write `symbiota-determinations.csv`."""
    subject, most = SUBJECTS[batch.key]
    required = (subject, "sciname", "sourceIdentifier")
    columns = {subject: most, **COLUMNS}
    return write_determinations(batch, folder / "symbiota-determinations.csv", columns, required, _fill)


def _fill(opinion: Opinion, batch: Batch) -> Cells:
    cells = {
        SUBJECTS[batch.key][0]: opinion.sheet[batch.key] or "",
        "identifiedBy": clean_line(opinion.by) or _UNKNOWN_PERSON,
        "dateIdentified": opinion.date or _UNKNOWN_DATE,
        "sciname": opinion.name or "",
        "isCurrent": "1" if batch.is_current(opinion) else "0",
        "identificationVerificationStatus": "unverified" if opinion.is_machine else "judged by images",
        "identificationRemarks": write_remark(opinion, batch),
        "sourceIdentifier": opinion.id,
    }
    return {name: text.replace("\\", "/") for name, text in cells.items()}  # PHP takes a backslash for an escape
