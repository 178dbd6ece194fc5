"""The task that writes one shard file: every image is checked, reduced and stored next to others of its label."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from herbray import schema, storage, tables
from herbray.data import catalogue
from herbray.data.duplicates.image_groups import DIGEST_BYTES
from herbray.data.fingerprint import fingerprint_json
from herbray.data.imaging import images, originals
from herbray.data.imaging.boxes import NO_BOXES, Box, parse_boxes
from herbray.data.imaging.formats import DEFAULT_FORMATS, Formats
from herbray.flow.shards.manifest import describe_remedy

ShrinkSettings = tuple[int, int] | tuple[int, int, images.Geometry]
"""Arguments of `images.shrink_to_jpeg` after the image: side, quality and, unless it is "crop", the geometry.

They are part of a file's fingerprint. "crop" is left out so that files of earlier versions keep theirs.
"""

Bag = tuple[str, int]
"""Label and number of rows."""

Row = dict[str, Any]


def write_shard_file(
    out: str,
    name: str,
    rows: pa.Table,
    bags: Sequence[Bag],
    shrink: ShrinkSettings,
    roots: Sequence[str],
    formats: Formats = DEFAULT_FORMATS,
) -> dict[str, Any]:
    """Write one file of the shard plan, unless it already exists undamaged, and return its note.

    The location of the archive does not matter: see `catalogue.name_images`.

    Args:
        out: the shards folder.
        name: of the file, relative to `out`.
        rows: its specimens, as in the catalogue, bag after bag. Their `mask_boxes` are painted over, if there is such a
            column; a row without boxes is then refused.
        bags: label and number of rows of each bag.
        shrink: how images are reduced.
        roots: the folders of the images: that of fetched ones, and that of the catalogue's source.
        formats: the formats that are read, and their largest images; no part of the fingerprint, because it only
            decides which images are refused.

    Returns:
        `fingerprint`, `file`, `rows` (planned), `bags` (written), `refused` (rows of the quarantine) and `prints`: for
        each row in the file, the digest of its image and its perceptual hash, in base64
        (`herbray.data.duplicates.image_groups`).

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    path = Path(out, name)
    fingerprint = _fingerprint(rows, bags, shrink, roots)
    note = _read_valid_note(path) if storage.is_file(path) else None
    if note and note["fingerprint"] == fingerprint and "prints" in note:
        refused = _recheck_refused(note["refused"], rows, shrink, formats)
        if refused is not None:
            return note | {"refused": refused}
    return _write(path, name, rows, bags, shrink, formats, fingerprint)


def _fingerprint(rows: pa.Table, bags: Sequence[Bag], shrink: ShrinkSettings, roots: Sequence[str]) -> str:
    images = rows["image"]
    for root in roots:
        images = catalogue.name_images(images, root)
    columns = rows.to_pydict() | {"image": images.to_pylist()}
    return fingerprint_json(schema.VERSION, *shrink, bags, columns)


def _write(
    path: Path,
    name: str,
    rows: pa.Table,
    bags: Sequence[Bag],
    shrink: ShrinkSettings,
    formats: Formats,
    fingerprint: str,
) -> dict[str, Any]:
    refused: list[Row] = []
    index: list[dict[str, Any]] = []
    prints = b""
    first = 0
    compression = {field.name: "none" if field.name == "jpeg" else "zstd" for field in schema.SHARD}
    options = {"compression": compression, "use_dictionary": False, "write_statistics": False}
    with tables.open_writer(path, schema.SHARD, **options) as file:
        for label, size in bags:
            bag, pictures = _make_bag(rows.slice(first, size), shrink, formats, refused)
            prints += b"".join(_make_print(picture) for picture in pictures)
            first += size
            if bag.num_rows:
                index.append({"row_group": len(index), "label": label, "rows": bag.num_rows})
                file.write_table(bag, row_group_size=bag.num_rows)
        note = {"fingerprint": fingerprint, "file": name, "rows": len(rows), "bags": index, "refused": refused}
        note["prints"] = base64.b64encode(prints).decode()
        tables.add_note(file, note)
    return note


def _read_valid_note(path: Path) -> dict[str, Any] | None:
    """The note of a finished file; None if the file is damaged."""
    try:
        tables.verify(path, describe_remedy(path.parents[1]))
        return tables.TableFile(path, describe_remedy(path.parents[1])).note or None
    except storage.StoreUnreachable:
        raise
    except (OSError, storage.DamagedFile):
        return None


def _recheck_refused(
    refused: Sequence[Row], rows: pa.Table, shrink: ShrinkSettings, formats: Formats
) -> list[Row] | None:
    """Check a file's refused images again, at their present location.

    Returns:
        Their rows of the quarantine; None if an image is no longer refused for the same reason. Then it was repaired,
        and the file must be written again.
    """
    by_id = {row["specimen_id"]: row for row in _image_rows(rows)}
    again = []
    for row in refused:
        found = shrink_or_refuse(by_id[row["specimen_id"]], shrink, formats)
        if isinstance(found, images.JpegImage) or found["reason"] != row["reason"]:
            return None
        again.append(found)
    return again


def _image_rows(rows: pa.Table) -> list[Row]:
    """Each row's `specimen_id` and `image`, and `mask_boxes` if there is such a column."""
    names = [name for name in ("specimen_id", "image", schema.MASK_BOXES) if name in rows.column_names]
    image_rows: list[Row] = rows.select(names).to_pylist()
    return image_rows


def shrink_or_refuse(row: Row, shrink: ShrinkSettings, formats: Formats) -> images.JpegImage | Row:
    """A specimen's reduced image, or its row of the quarantine.

    Args:
        row: `specimen_id`, `image` and, if boxes are painted over, `mask_boxes`.
        shrink: how images are reduced.
        formats: which formats are read, and their largest images.
    """
    try:
        boxes = _parse_row_boxes(row[schema.MASK_BOXES]) if schema.MASK_BOXES in row else ()
        return images.shrink_to_jpeg(originals.read_bytes(row["image"]), *shrink, boxes=boxes, formats=formats)
    except originals.ImageRefused as error:
        names = {name: row[name] for name in ("specimen_id", "image")}
        return {**names, "stage": "shard", "reason": error.reason, "detail": str(error)}


def _parse_row_boxes(text: str | None) -> tuple[Box, ...]:
    """The boxes of a row.

    Raises:
        ImageRefused: it has none, and it is not known whether there is something to paint over.
    """
    if text is None:
        raise originals.ImageRefused(
            "no-boxes", f"mask_boxes is empty: write {NO_BOXES} if there is nothing to paint over"
        )
    return parse_boxes(text)


def _make_bag(
    rows: pa.Table, shrink: ShrinkSettings, formats: Formats, refused: list[Row]
) -> tuple[pa.Table, list[images.JpegImage]]:
    """One bag in `schema.SHARD`, and its images; refused rows are appended to `refused`."""
    keep, pictures = [], []
    for position, row in enumerate(_image_rows(rows)):
        found = shrink_or_refuse(row, shrink, formats)
        if isinstance(found, images.JpegImage):
            pictures.append(found)
            keep.append(position)
        else:
            refused.append(found)
    bag = rows.take(pa.array(keep, pa.int64())).select(schema.SPECIMEN.names)
    bag = bag.append_column("width", pa.array([p.width for p in pictures], pa.int32()))
    bag = bag.append_column("height", pa.array([p.height for p in pictures], pa.int32()))
    bag = bag.append_column("jpeg", pa.array([p.jpeg for p in pictures], pa.binary()))
    return bag.cast(schema.SHARD), pictures


def _make_print(picture: images.JpegImage) -> bytes:
    return hashlib.blake2b(picture.jpeg, digest_size=DIGEST_BYTES).digest() + picture.perceptual_hash
