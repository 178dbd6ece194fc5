"""From staged rows to batches of the catalogue, and to the table of rights."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import pyarrow as pa

from herbray import schema
from herbray.data.sources.base import make_batch
from herbray.data.sources.darwin_core.ledger import Ledger
from herbray.data.sources.darwin_core.specimens import CELLS
from herbray.data.sources.darwin_core.staging import StagedRow, Staging

SharedImages: TypeAlias = Literal["first", "refuse", "all"]
"""What happens with the specimens that share one image."""

_BATCH: Final = 8192
_WEAKER: Final = ("not_in_folder", "the file belongs to another specimen, whose name or catalogue number it has")
_RIGHTS_CELLS: Final = schema.RIGHTS.names[1:]


def emit_rows(
    staging: Staging,
    core: str,
    shared: SharedImages,
    ledger: Ledger,
    rights: list[pa.RecordBatch],
    licenses: dict[str, Counter[str]],
) -> Iterator[pa.RecordBatch]:
    """Stream the rows of the catalogue.

    Refused are records whose id an earlier one has ("duplicate"), and images of several specimens ("shared_image").

    Args:
        staging: holds the rows.
        core: name of the core table.
        shared: "first": of specimens of one name, the first keeps the image; of different names, none. "refuse": none.
            "all": each.
        ledger: receives counts and refusals.
        rights: receives batches in `schema.RIGHTS`.
        licenses: receives, for "media" and "record", the number of rows of each licence.
    """
    kept = _select(staging, core, shared, ledger)
    while rows := list(itertools.islice(kept, _BATCH)):
        columns = dict(zip(CELLS, zip(*(row.cells for row in rows), strict=True), strict=True))
        ids = [row.specimen for row in rows]
        licenses["media"].update(spdx or text or "none" for spdx, text in _pair(columns, "media"))
        licenses["record"].update(spdx or text or "none" for spdx, text in _pair(columns, "record"))
        rights.append(pa.RecordBatch.from_arrays(
            [pa.array(ids), *(pa.array(columns[name], pa.string()).dictionary_encode() for name in _RIGHTS_CELLS)],
            schema=schema.RIGHTS,
        ))  # fmt: skip
        own = {name: column for name, column in columns.items() if name in schema.CATALOGUE.names}
        yield make_batch({"specimen_id": ids, "image": [row.image for row in rows], **own})


def _pair(columns: Mapping[str, Sequence[str | None]], owner: str) -> Iterator[tuple[str | None, str | None]]:
    return zip(columns[f"{owner}_license"], columns[f"{owner}_license_text"], strict=True)


def _select(staging: Staging, core: str, shared: SharedImages, ledger: Ledger) -> Iterator[StagedRow]:
    """The rows to keep; those of one record come together, and get ids of their own."""
    for _, group in itertools.groupby(staging.iterate_rows(), key=lambda row: row.record):
        rows = list(group)
        faults = [_find_fault(row, shared) for row in rows]
        kept = [row for row, fault in zip(rows, faults, strict=True) if fault is None]
        if kept:
            ledger.tally(core).used += 1
        else:
            _drop_record(ledger, core, rows[0], next(fault for fault in faults if fault))
        for row, fault in zip(rows, faults, strict=True):
            _account_media(ledger, row, fault if kept else None, used=fault is None)
        for number, row in enumerate(kept, start=1):
            yield row if number == 1 else row._replace(specimen=f"{row.specimen}#{number}")


def _drop_record(ledger: Ledger, core: str, row: StagedRow, fault: tuple[str, str]) -> None:
    """Refuse a record, or count it as left out if only its own image is missing."""
    if fault == _WEAKER:
        ledger.tally(core).left_out[fault[0]] += 1
    else:
        ledger.refuse(core, row.line, *fault, row.specimen, row.image)


def _account_media(ledger: Ledger, row: StagedRow, fault: tuple[str, str] | None, used: bool) -> None:
    """Count the row of the image in its own table."""
    tally = ledger.tally(row.media_source)
    if used:
        tally.used += 1
    elif fault and fault != _WEAKER and row.media_source:
        ledger.refuse(row.media_source, row.media_line, *fault, row.specimen, row.image)
    else:
        tally.left_out["of_an_unused_record"] += 1


def _find_fault(row: StagedRow, shared: SharedImages) -> tuple[str, str] | None:
    if row.is_duplicate:
        return "duplicate", f"an earlier record has the identity {row.specimen!r:.200}"
    if row.is_weaker:
        return _WEAKER
    if shared == "all":
        return None
    if row.names > 1:
        return "shared_image", f"the image {row.image!r:.200} belongs to specimens of {row.names} different names"
    if row.names and (row.is_later or shared == "refuse"):
        return "shared_image", f"the image {row.image!r:.200} belongs to another specimen, too"
    return None
