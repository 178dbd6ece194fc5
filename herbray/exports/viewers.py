"""Rows for viewers: every sheet, with what is said of its name."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from herbray import schema
from herbray.exports.batch import Batch, Opinion

SPLIT: Final = "split"

VIEW: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in (*schema.SPECIMEN.names, SPLIT, "image")),
        pa.field("given", pa.string()),  # the name in question; null if nothing is said of the sheet
        pa.field("suggested", pa.string()),  # by the machine
        pa.field("suggested_probability", pa.float64()),
        pa.field("given_probability", pa.float64()),
        pa.field("status", pa.string(), nullable=False),  # "", "suggested", "wrong", "right", "maybe" or "disputed"
        pa.field("proposed", pa.string()),  # by reviewers
        pa.field("reviewers", pa.string()),
    ]
)
"""The columns of a row."""


def view_sheets(batch: Batch) -> Iterator[dict[str, Any]]:
    """One row per sheet of the collection, in its order, in `VIEW`."""
    if batch.collection is None:
        raise ValueError("a viewer needs the sheets of the collection; set embeddings or catalogue")
    said: dict[str, list[Opinion]] = {}
    for opinion in batch.opinions:
        said.setdefault(opinion.sheet["specimen_id"] or "", []).append(opinion)
    for part in batch.collection.sheets.to_batches(max_chunksize=4096):
        for sheet in part.to_pylist():
            yield {**dict.fromkeys(VIEW.names), **sheet, **_summarise(said.get(sheet["specimen_id"], []))}


def _summarise(opinions: list[Opinion]) -> dict[str, Any]:
    """What is said of a sheet. Verdicts of reviewers come before suggestions."""
    if not opinions:
        return {"status": ""}
    people = [each for each in opinions if not each.is_machine]
    machine = next((each for each in opinions if each.is_machine), None)
    verdicts = {each.verdict for each in people}
    status = "disputed" if verdicts >= {"wrong", "right"} else next(iter(sorted(verdicts, reverse=True)), "suggested")
    proposed = {each.name for each in people if each.verdict == "wrong" and each.name}
    return {
        "status": status,
        "given": opinions[0].given,
        "suggested": machine.name if machine else None,
        "suggested_probability": machine.probability if machine else None,
        "given_probability": machine.given_probability if machine else None,
        "proposed": " | ".join(sorted(proposed)) or None,
        "reviewers": " | ".join(sorted({each.by for each in people if each.by})) or None,
    }
