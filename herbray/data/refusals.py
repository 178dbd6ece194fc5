"""Rows that cannot be used: collected with their reasons, for the quarantine."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.imaging.boxes import BoxesRefused, parse_boxes
from herbray.data.names.columns import map_distinct
from herbray.schema import MASK_BOXES, QUARANTINE

_BUCKETS: Final = "^(?i:s3|gs)://"

_MAX_DETAIL: Final = 500  # characters of a refusal's detail


class RefusalLog:
    """Collects refused rows; sources call an instance as their `Refuse` function."""

    def __init__(self) -> None:
        """Start without rows."""
        self.rows: list[tuple[str | None, str | None, str, str, str]] = []

    def __call__(self, specimen_id: str | None, image: str | None, reason: str, detail: str) -> None:
        """Add a row; see `herbray.data.sources.base.Refuse`."""
        self.rows.append(
            (
                make_storable(specimen_id),
                make_storable(image),
                "catalogue",
                reason,
                (make_storable(detail) or "")[:_MAX_DETAIL],
            )
        )

    def table(self) -> pa.Table:
        """The rows in `herbray.schema.QUARANTINE`."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(QUARANTINE)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays(arrays, schema=QUARANTINE)


def make_storable(text: str | None) -> str | None:
    """Replace unpaired surrogates, which file names and headers may contain, by question marks, which can be stored."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def refuse_unusable(table: pa.Table, refused: RefusalLog, root: str) -> pa.Table:
    """Return the usable rows; pass the others to `refused`.

    Args:
        table: rows of a source.
        refused: receives the others.
        root: path or address of the source's folder. An image in a bucket must lie in it: metadata must not make
            herbray read other buckets with the user's credentials.
    """
    for column, reason, detail in (
        ("specimen_id", "no_id", "the row has no specimen_id"),
        ("image", "no_image_path", "the row names no image"),
    ):
        missing = pc.is_null(table[column])
        _refuse_rows(table.filter(missing), refused, reason, detail)
        table = table.filter(pc.invert(missing))
    foreign = pc.and_(
        pc.match_substring_regex(table["image"], _BUCKETS), pc.invert(pc.starts_with(table["image"], f"{root}/"))
    )
    _refuse_rows(table.filter(foreign), refused, "outside", "an image in a bucket must lie in the source's folder")
    table = table.filter(pc.invert(foreign))
    ids = table["specimen_id"]
    first = pc.index_in(ids, value_set=ids)
    repeated = pc.not_equal(first, pa.array(np.arange(len(table), dtype=np.int32)))
    _refuse_rows(table.filter(repeated), refused, "duplicate", "an earlier row has this specimen_id")
    return _refuse_boxes(table.filter(pc.invert(repeated)), refused)


def _refuse_boxes(table: pa.Table, refused: RefusalLog) -> pa.Table:
    """Return the rows whose boxes, if they have any, can be parsed; pass the others to `refused`."""
    if MASK_BOXES not in table.column_names:
        return table
    faults = map_distinct(table[MASK_BOXES], _find_fault)
    for fault in pc.unique(faults).drop_null().to_pylist():
        _refuse_rows(table.filter(pc.fill_null(pc.equal(faults, fault), False)), refused, "mask_boxes", fault)
    return table.filter(pc.is_null(faults))


def _find_fault(boxes: str) -> str | None:
    """Return what is wrong with the text of a row's boxes."""
    try:
        parse_boxes(boxes)
    except BoxesRefused as error:
        return str(error)
    return None


def _refuse_rows(rows: pa.Table, refused: RefusalLog, reason: str, detail: str) -> None:
    for row in rows.select(["specimen_id", "image"]).to_pylist():
        refused(row["specimen_id"], row["image"], reason, detail)
