"""Determinations for the WorkBench of Specify 7: a CSV file whose columns are mapped when it is imported.

The longest texts are those of the tables `determination`, `agent` and `taxon` in Specify's data model.
"""

from pathlib import Path
from typing import Final

from herbray.exports.batch import Batch, Opinion, Written
from herbray.exports.determinations import Cells, write_determinations
from herbray.exports.texts import clean_line, split_name, write_remark

COLUMNS: Final = {
    "Catalog Number": 32,
    "Order": 128,
    "Family": 128,
    "Genus": 128,
    "Species": 128,
    "Determiner Last Name": 256,
    "Determined Date": 10,
    "Is Current": 5,
    "Method": 50,
    "Confidence": 50,
    "Remarks": None,
    "GUID": 128,
}
"""Column → longest text."""


def write(batch: Batch, folder: Path) -> Written:
    """Write `specify-determinations.csv`."""
    required = ("Catalog Number", "Determiner Last Name", "GUID")
    return write_determinations(batch, folder / "specify-determinations.csv", COLUMNS, required, _fill)


def _fill(opinion: Opinion, batch: Batch) -> Cells:
    name = clean_line(opinion.name)
    return {
        "Catalog Number": opinion.sheet[batch.key] or "",
        **{rank.title(): part for rank, part in split_name(name, opinion.rank).items()},
        "Determiner Last Name": clean_line(opinion.by, 256) or "unknown",
        "Determined Date": opinion.date,
        "Is Current": "true" if batch.is_current(opinion) else "false",
        "Method": "machine suggestion, unverified" if opinion.is_machine else "judged by images",
        "Confidence": "" if opinion.probability is None else f"{opinion.probability:.4f}",
        "Remarks": write_remark(opinion, batch),
        "GUID": opinion.id,
    }
