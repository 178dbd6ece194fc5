"""The catalogue: one row per specimen, whatever the source, and a quarantine table of refused rows."""

import hashlib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray import __version__, storage, tables
from herbray.config import Spec
from herbray.data.imaging.boxes import BoxesRefused, parse_boxes
from herbray.data.sources import Source
from herbray.data.sources.base import parse_genus
from herbray.schema import CATALOGUE, MASK_BOXES, MASKED_CATALOGUE, QUARANTINE, RANKS, VERSION

CATALOGUE_FILE: Final = "catalogue.parquet"
QUARANTINE_FILE: Final = "quarantine.parquet"
MANIFEST_FILE: Final = "manifest.json"

_TAXON_COLUMNS: Final = (*RANKS, "true_species")
_MAX_DETAIL: Final = 500  # characters of a refusal's detail


class QuarantineLimit(ValueError):
    """More rows were refused than `max_quarantined` allows; the files were written nevertheless."""


class Catalogue(Spec):
    """The job that builds a catalogue from a source.

    Attributes:
        source: source of the specimens.
        out: folder for `catalogue.parquet`, `quarantine.parquet` and `manifest.json`.
        max_quarantined: largest share of the input rows that may be refused before the job fails.
    """

    source: Source
    out: Path = Path("runs/catalogue")
    max_quarantined: float = Field(default=0.05, ge=0, le=1)


def build(spec: Catalogue) -> dict[str, Any]:
    """Read the source, tidy the rows, quarantine unusable rows and write the three files.

    Tidying converts taxon names to Unicode NFC with single spaces, strips all text except paths, replaces empty text by
    null, and takes a missing genus from the species name (`parse_genus`). Rows without an id or an image, rows that
    repeat the id of an earlier row, and rows with malformed `mask_boxes` go to quarantine. Rows without a genus stay in
    the catalogue, but no split uses them.

    Each file is written under a temporary name and renamed, the manifest last: a folder with a manifest is complete.

    Returns:
        The manifest: versions, source and citation; counts, where `input` = `ok` + `quarantined`; refusals by reason;
        the number of names of each rank and of specimens of each institution; and the `fingerprint` of the rows.

    Raises:
        ValueError: the source cannot be read or has no rows.
        QuarantineLimit: too many rows were refused; all of them are in `quarantine.parquet`.
    """
    refused = _RefusalLog()
    batches = list(spec.source.read(refused))
    given = pa.Table.from_batches(batches, schema=batches[0].schema if batches else CATALOGUE)
    count = len(given) + len(refused.rows)
    if count == 0:
        raise ValueError(f"source {spec.source.name!r} has no rows; check its settings: {spec.source!r}")
    kept = _refuse_unusable(_tidy(given), refused)
    quarantine = refused.table()
    if len(kept) + len(quarantine) != count:
        raise RuntimeError(
            f"{count} rows came in, {len(kept)} + {len(quarantine)} went out; this is a bug, please report it"
        )
    manifest = _make_manifest(spec, kept, quarantine)
    _write(spec.out, kept, quarantine, manifest)
    if len(quarantine) > spec.max_quarantined * count or len(kept) == 0:
        raise QuarantineLimit(
            f"{len(quarantine):,} of {count:,} rows were refused ({_format_reasons(manifest['reasons'])}), but "
            f"max_quarantined is {spec.max_quarantined}; {spec.out / QUARANTINE_FILE} gives the reason for each row; "
            "correct the rows, or raise max_quarantined"
        )
    return manifest


def read(folder: Path) -> pa.Table:
    """Read the catalogue in `folder`.

    Returns:
        A table in `herbray.schema.CATALOGUE` or `MASKED_CATALOGUE`, `specimen_id` unique.

    Raises:
        ValueError: there is no catalogue, it is incomplete, or its tables have another version.
    """
    manifest = read_manifest(folder)
    file = tables.TableFile(folder / CATALOGUE_FILE, _remedy(folder))
    wanted = MASKED_CATALOGUE if MASK_BOXES in file.schema.names else CATALOGUE
    tables.check_columns(file.schema, wanted, file.path, file.remedy)
    table = file.read()
    if len(table) != manifest["counts"]["ok"]:
        raise ValueError(f"{folder}: manifest and table do not match; {_remedy(folder)}")
    return table


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a complete catalogue; raises what `read` raises."""
    manifest = storage.read_note(folder / MANIFEST_FILE, _remedy(folder))
    if (version := manifest.get("schema_version")) != VERSION:
        raise ValueError(
            f"{folder}: the tables have version {version}, this herbray reads {VERSION}; {_remedy(folder)}"
        )
    return manifest


def _remedy(folder: Path) -> str:
    return f"run `herbray catalogue` with out={folder} to write this catalogue again"


def name_images(images: pa.ChunkedArray, root: str) -> pa.ChunkedArray:
    """Return the names of images in fingerprints; catalogue and shards both use this function.

    The name of an image is its path below its source's folder, with "/" between the parts. The name does not change if
    the archive is mounted elsewhere or specimens from further folders are added. For an image outside the folder, the
    name is the whole path or URI.

    Args:
        images: paths or URIs, the column `image` of a catalogue.
        root: the source's folder, `root` in the manifest.
    """
    folder = root.rstrip("/") + "/"
    inside = pc.starts_with(images, folder)
    return pc.if_else(inside, pc.utf8_slice_codeunits(images, start=len(folder)), images)


def fingerprint(catalogue: pa.Table, root: str) -> str:
    """Compute the SHA-256 (FIPS 180-4) of the rows, independent of their order and of the images' location.

    Args:
        catalogue: a table in `herbray.schema.CATALOGUE` or `MASKED_CATALOGUE` with unique ids.
        root: the folder that contains the images; see `name_images`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"herbray catalogue {VERSION}\0".encode())
    order = pc.sort_indices(catalogue["specimen_id"])
    for name in catalogue.column_names:
        column = name_images(catalogue[name], root) if name == "image" else catalogue[name]
        texts = pc.take(column.cast(pa.large_string()), order).combine_chunks()
        lengths = pc.fill_null(pc.binary_length(texts), -1)  # distinguishes null from "", and "ab", "c" from "a", "bc"
        digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        for start in range(0, len(texts), 1 << 16):
            joined = "".join(pc.fill_null(texts.slice(start, 1 << 16), "").to_pylist())
            digest.update(joined.encode())
    return digest.hexdigest()


class _RefusalLog:
    """Collects refused rows; sources call an instance as their `Refuse` function."""

    def __init__(self) -> None:
        self.rows: list[tuple[str | None, str | None, str, str, str]] = []

    def __call__(self, specimen_id: str | None, image: str | None, reason: str, detail: str) -> None:
        self.rows.append(
            (
                _make_storable(specimen_id),
                _make_storable(image),
                "catalogue",
                reason,
                (_make_storable(detail) or "")[:_MAX_DETAIL],
            )
        )

    def table(self) -> pa.Table:
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(QUARANTINE)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays(arrays, schema=QUARANTINE)


def _make_storable(text: str | None) -> str | None:
    """Replace unpaired surrogates, which file names may contain, by question marks, so that the text can be stored."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _tidy(table: pa.Table) -> pa.Table:
    columns = {name: _tidy_column(name, table[name]) for name in table.column_names}
    columns["genus"] = pc.coalesce(columns["genus"], _map_distinct(columns["species"], parse_genus))
    return pa.table(columns, schema=table.schema)


def _tidy_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    stripped = pc.utf8_trim_whitespace(column)
    empty = pc.equal(stripped, "")
    if name in _TAXON_COLUMNS:
        stripped = _map_distinct(column, _tidy_name)
    elif name == "image":
        stripped = column  # file names may end in a space
    return pc.if_else(pc.fill_null(empty, True), pa.scalar(None, pa.string()), stripped)


def _tidy_name(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _map_distinct(column: pa.ChunkedArray, function: Callable[[str], str | None]) -> pa.ChunkedArray:
    """Apply `function` to each text, but call it once per distinct value: names repeat thousands of times."""
    coded = column.combine_chunks().dictionary_encode()
    values = pa.array([function(value) for value in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([values.take(coded.indices)])


def _refuse_unusable(table: pa.Table, refused: _RefusalLog) -> pa.Table:
    """Return the usable rows; pass the others to `refused`."""
    for column, reason, detail in (
        ("specimen_id", "no_id", "the row has no specimen_id"),
        ("image", "no_image_path", "the row names no image"),
    ):
        missing = pc.is_null(table[column])
        _refuse_rows(table.filter(missing), refused, reason, detail)
        table = table.filter(pc.invert(missing))
    ids = table["specimen_id"]
    first = pc.index_in(ids, value_set=ids)
    repeated = pc.not_equal(first, pa.array(np.arange(len(table), dtype=np.int32)))
    _refuse_rows(table.filter(repeated), refused, "duplicate", "an earlier row has this specimen_id")
    return _refuse_boxes(table.filter(pc.invert(repeated)), refused)


def _refuse_boxes(table: pa.Table, refused: _RefusalLog) -> pa.Table:
    """Return the rows whose boxes, if they have any, can be parsed; pass the others to `refused`."""
    if MASK_BOXES not in table.column_names:
        return table
    faults = _map_distinct(table[MASK_BOXES], _find_fault)
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


def _refuse_rows(rows: pa.Table, refused: _RefusalLog, reason: str, detail: str) -> None:
    for row in rows.select(["specimen_id", "image"]).to_pylist():
        refused(row["specimen_id"], row["image"], reason, detail)


def _make_manifest(spec: Catalogue, kept: pa.Table, quarantine: pa.Table) -> dict[str, Any]:
    root = str(spec.source.root)
    return {
        "table": "catalogue",
        "schema_version": VERSION,
        "herbray": __version__,
        "source": spec.source.model_dump(mode="json"),
        "root": root,
        "citation": spec.source.citation,
        "counts": {"input": len(kept) + len(quarantine), "ok": len(kept), "quarantined": len(quarantine), "skipped": 0},
        "reasons": _count_values(quarantine["reason"]),
        "names": {rank: pc.count_distinct(kept[rank]).as_py() for rank in RANKS},
        "undetermined": kept["genus"].null_count,
        "institutions": _count_values(kept["institution"].drop_null()),
        "fingerprint": fingerprint(kept, root),
    }


def _format_reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in list(reasons.items())[:5])


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Count the rows of each value, most frequent values first."""
    pairs = [(pair["values"], pair["counts"]) for pair in column.value_counts().to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _write(out: Path, kept: pa.Table, quarantine: pa.Table, manifest: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST_FILE).unlink(missing_ok=True)  # without a manifest the folder is incomplete
    for name, table in ((CATALOGUE_FILE, kept), (QUARANTINE_FILE, quarantine)):
        tables.write(out / name, table)
    storage.write_note(out / MANIFEST_FILE, manifest)
