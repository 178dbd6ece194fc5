"""Determinations in a table: what the CSV exports for collection systems share."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from herbray.exports.batch import Batch, Opinion, Written
from herbray.exports.texts import clean_line
from herbray.spreadsheet import write_csv

Cells = dict[str, str]

DISPUTED: Final = "reviewers disagree, are in doubt, or name no other name"


def select_determinations(opinions: Sequence[Opinion]) -> Iterator[tuple[Opinion, str, str]]:
    """Each opinion, the name that it gives, and why it is no determination ("" if it is one)."""
    for opinion in opinions:
        name = clean_line(opinion.name)
        yield opinion, name, "" if name and opinion.is_settled else DISPUTED


def write_determinations(
    batch: Batch,
    path: Path,
    columns: Mapping[str, int | None],
    required: Sequence[str],
    fill: Callable[[Opinion, Batch], Cells],
) -> Written:
    """Write the determinations of a batch as CSV. No required cell is empty, and no name or identifier is cut.

    Args:
        batch: what is exported.
        path: of the file.
        columns: column → longest text that the system takes; None: any.
        required: columns that must not be empty; their texts are never cut.
        fill: makes the cells of a row; missing ones are empty.
    """
    rows: list[Cells] = []
    left_out: Counter[str] = Counter()
    for opinion, _, reason in select_determinations(batch.opinions):
        cells = {} if reason else fill(opinion, batch)
        reason = reason or _find_fault(cells, columns, required)
        if reason:
            left_out[reason] += 1
        else:
            rows.append({name: clean_line(cells.get(name), most) for name, most in columns.items()})
    write_csv(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns}), path)
    return Written(path, len(rows), "determinations", left_out)


def _find_fault(cells: Cells, columns: Mapping[str, int | None], required: Sequence[str]) -> str:
    """What is wrong with the required cells of a row; "" if nothing."""
    for name in required:
        text, most = clean_line(cells.get(name)), columns[name]
        if not text:
            return f"no {name}"
        if most is not None and len(text) > most:
            return f"{name} longer than {most} characters"
    return ""
