"""The catalogue: one row a specimen, whatever the source, and a quarantine of the rows that were refused."""

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
from herbray.data.sources import Source
from herbray.data.sources.base import genus_of
from herbray.schema import CATALOGUE, QUARANTINE, RANKS, VERSION

CATALOGUE_FILE: Final = "catalogue.parquet"
QUARANTINE_FILE: Final = "quarantine.parquet"
MANIFEST_FILE: Final = "manifest.json"

_NAMES: Final = (*RANKS, "true_species")
_DETAIL: Final = 500  # characters of a refusal's detail that are kept


class QuarantineLimit(ValueError):
    """More of the input was refused than `max_quarantined` allows; the files are written all the same."""


class Catalogue(Spec):
    """The job that turns a source into a catalogue.

    Attributes:
        source: where the specimens come from.
        out: the folder that receives `catalogue.parquet`, `quarantine.parquet` and `manifest.json`.
        max_quarantined: share of the input rows that may be refused before `build` raises.
    """

    source: Source
    out: Path = Path("runs/catalogue")
    max_quarantined: float = Field(default=0.05, ge=0, le=1)


def build(spec: Catalogue) -> dict[str, Any]:
    """Read the source, tidy it, set bad rows aside and write the three files.

    Tidy means: names of taxa in Unicode NFC with single spaces, all text but paths stripped, empty text null, and a
    missing genus taken from the species (`genus_of`). Rows without an id or an image, and every later row of an id that
    was seen before, go to quarantine. Rows without a genus stay: they are specimens, though no split can use them.

    Each file is written under another name and renamed, the manifest last, so a folder with a manifest is whole.

    Returns:
        The manifest: versions, source and citation, `input` = `ok` + `quarantined`, refusals by reason, how many
        names each rank and how many specimens each institution has, and the `fingerprint` of the rows.

    Raises:
        ValueError: the source cannot be read or gives no row.
        QuarantineLimit: too many rows were refused; nothing was lost, see `quarantine.parquet`.
    """
    refused = _Refused()
    given = pa.Table.from_batches(spec.source.read(refused), schema=CATALOGUE)
    count = len(given) + len(refused.rows)
    if count == 0:
        raise ValueError(f"source {spec.source.name!r} gave no row at all; look at its settings: {spec.source!r}")
    kept = _set_aside(_tidy(given), refused)
    quarantine = refused.table()
    if len(kept) + len(quarantine) != count:
        raise RuntimeError(f"{count} rows came in, {len(kept)} + {len(quarantine)} went out: a bug, please report it")
    manifest = _manifest(spec, kept, quarantine)
    _write(spec.out, kept, quarantine, manifest)
    if len(quarantine) > spec.max_quarantined * count or len(kept) == 0:
        raise QuarantineLimit(
            f"{len(quarantine):,} of {count:,} rows were refused ({_top(manifest['reasons'])}), where "
            f"max_quarantined is {spec.max_quarantined}; {spec.out / QUARANTINE_FILE} tells why, row by row"
        )
    return manifest


def read(folder: Path) -> pa.Table:
    """The catalogue in `folder`.

    Returns:
        A table in `herbray.schema.CATALOGUE`, `specimen_id` unique.

    Raises:
        ValueError: there is none, it was not finished, or another version of the tables wrote it.
    """
    manifest = read_manifest(folder)
    table = tables.read(folder / CATALOGUE_FILE, _remedy(folder), CATALOGUE)
    if len(table) != manifest["counts"]["ok"]:
        raise ValueError(f"{folder}: manifest and table do not belong together; {_remedy(folder)}")
    return table


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a finished catalogue says of itself; raises as `read` does."""
    manifest = storage.read_note(folder / MANIFEST_FILE, _remedy(folder))
    if (version := manifest.get("schema_version")) != VERSION:
        raise ValueError(f"{folder}: tables of version {version}, this herbray reads {VERSION}; {_remedy(folder)}")
    return manifest


def _remedy(folder: Path) -> str:
    return f"run `herbray catalogue` with out={folder} to write this catalogue anew"


def image_names(images: pa.ChunkedArray, root: str) -> pa.ChunkedArray:
    """What images are called in fingerprints: the one rule for catalogue and shards.

    An image is named by its path below its source's folder, with "/" between the parts. So an archive may be mounted
    elsewhere, and specimens of further folders may be added, without a change of name. An image outside the folder, or
    a URI outside it, has its whole path for a name.

    Args:
        images: paths or URIs, the column `image` of a catalogue.
        root: that folder, `root` of the manifest.
    """
    folder = root.rstrip("/") + "/"
    inside = pc.starts_with(images, folder)
    return pc.if_else(inside, pc.utf8_slice_codeunits(images, start=len(folder)), images)


def fingerprint(catalogue: pa.Table, root: str) -> str:
    """SHA-256 (FIPS 180-4) of the rows, independent of their order and of where the images' folder lies.

    Args:
        catalogue: a table in `herbray.schema.CATALOGUE` with unique ids.
        root: the folder that its images lie below; see `image_names`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"herbray catalogue {VERSION}\0".encode())
    order = pc.sort_indices(catalogue["specimen_id"])
    for name in CATALOGUE.names:
        column = image_names(catalogue[name], root) if name == "image" else catalogue[name]
        texts = pc.take(column.cast(pa.large_string()), order).combine_chunks()
        lengths = pc.fill_null(pc.binary_length(texts), -1)  # tell null from "", and "ab", "c" from "a", "bc"
        digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        for start in range(0, len(texts), 1 << 16):
            joined = "".join(pc.fill_null(texts.slice(start, 1 << 16), "").to_pylist())
            digest.update(joined.encode())
    return digest.hexdigest()


class _Refused:
    """Gathers refusals; an instance is the `Refuse` that sources call."""

    def __init__(self) -> None:
        self.rows: list[tuple[str | None, str | None, str, str, str]] = []

    def __call__(self, specimen_id: str | None, image: str | None, reason: str, detail: str) -> None:
        self.rows.append((_safe(specimen_id), _safe(image), "catalogue", reason, (_safe(detail) or "")[:_DETAIL]))

    def table(self) -> pa.Table:
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(QUARANTINE)
        arrays = [pa.array(column, pa.string()) for column in columns]
        return pa.Table.from_arrays(arrays, schema=QUARANTINE)


def _safe(text: str | None) -> str | None:
    """Text that can be stored: half surrogate pairs, which file names may hold, become question marks."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _tidy(table: pa.Table) -> pa.Table:
    columns = {name: _tidy_column(name, table[name]) for name in CATALOGUE.names}
    columns["genus"] = pc.coalesce(columns["genus"], _per_value(columns["species"], genus_of))
    return pa.table(columns, schema=CATALOGUE)


def _tidy_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    bare = pc.utf8_trim_whitespace(column)
    empty = pc.equal(bare, "")
    if name in _NAMES:
        bare = _per_value(column, _tidy_name)
    elif name == "image":
        bare = column  # a file's name may end in a space
    return pc.if_else(pc.fill_null(empty, True), pa.scalar(None, pa.string()), bare)


def _tidy_name(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _per_value(column: pa.ChunkedArray, function: Callable[[str], str | None]) -> pa.ChunkedArray:
    """`function` of each text, called once a distinct one: names repeat by the thousand."""
    coded = column.combine_chunks().dictionary_encode()
    values = pa.array([function(value) for value in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([values.take(coded.indices)])


def _set_aside(table: pa.Table, refused: _Refused) -> pa.Table:
    """The rows that make a catalogue; the others go to `refused`."""
    for column, reason, detail in (
        ("specimen_id", "no_id", "the row has no specimen_id"),
        ("image", "no_image_path", "the row names no image"),
    ):
        missing = pc.is_null(table[column])
        _refuse_rows(table.filter(missing), refused, reason, detail)
        table = table.filter(pc.invert(missing))
    ids = table["specimen_id"]
    first = pc.index_in(ids, value_set=ids)
    again = pc.not_equal(first, pa.array(np.arange(len(table), dtype=np.int32)))
    _refuse_rows(table.filter(again), refused, "duplicate", "an earlier row has this specimen_id")
    return table.filter(pc.invert(again))


def _refuse_rows(rows: pa.Table, refused: _Refused, reason: str, detail: str) -> None:
    for row in rows.select(["specimen_id", "image"]).to_pylist():
        refused(row["specimen_id"], row["image"], reason, detail)


def _manifest(spec: Catalogue, kept: pa.Table, quarantine: pa.Table) -> dict[str, Any]:
    root = str(spec.source.root)
    return {
        "table": "catalogue",
        "schema_version": VERSION,
        "herbray": __version__,
        "source": spec.source.model_dump(mode="json"),
        "root": root,
        "citation": spec.source.citation,
        "counts": {"input": len(kept) + len(quarantine), "ok": len(kept), "quarantined": len(quarantine), "skipped": 0},
        "reasons": _counts(quarantine["reason"]),
        "names": {rank: pc.count_distinct(kept[rank]).as_py() for rank in RANKS},
        "undetermined": kept["genus"].null_count,
        "institutions": _counts(kept["institution"].drop_null()),
        "fingerprint": fingerprint(kept, root),
    }


def _top(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in list(reasons.items())[:5])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Rows of each value, the most frequent first."""
    pairs = [(pair["values"], pair["counts"]) for pair in column.value_counts().to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _write(out: Path, kept: pa.Table, quarantine: pa.Table, manifest: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST_FILE).unlink(missing_ok=True)  # until all is written, the folder is no catalogue
    for name, table in ((CATALOGUE_FILE, kept), (QUARANTINE_FILE, quarantine)):
        tables.write(out / name, table)
    storage.write_note(out / MANIFEST_FILE, manifest)
