"""The catalogue: one row per specimen, whatever the source, and a quarantine table of refused rows."""

import hashlib
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray import __version__, storage, tables
from herbray.config import Spec
from herbray.data.duplicates.conflicts import describe_conflicts, find_conflicts
from herbray.data.duplicates.image_groups import read_groups
from herbray.data.names.catalogue_names import read_names
from herbray.data.names.settings import Names
from herbray.data.presence import find_absent
from herbray.data.refusals import RefusalLog, refuse_unusable
from herbray.data.shared_images import join_gatherings
from herbray.data.sources import Source
from herbray.data.sources.base import Account
from herbray.schema import CATALOGUE, MASK_BOXES, MASKED_CATALOGUE, RANKS, VERBATIM_NAME, VERSION

CATALOGUE_FILE: Final = "catalogue.parquet"
QUARANTINE_FILE: Final = "quarantine.parquet"
CONFLICTS_FILE: Final = "conflicts.parquet"
MANIFEST_FILE: Final = "manifest.json"


_HINT: Final = "the source must name images, or be given a folder of image files in its setting `images`"


class QuarantineLimit(ValueError):
    """More rows were refused than `max_quarantined` allows; the files were written nevertheless."""


class Catalogue(Spec):
    """The job that builds a catalogue from a source.

    Attributes:
        source: source of the specimens.
        names: how names are read, and tables to look them up in.
        out: folder for `catalogue.parquet`, `quarantine.parquet` and `manifest.json`.
        max_quarantined: largest share of the input rows that may be refused before the job fails.
        duplicates: folders of shards that were made from earlier versions of the catalogue. Specimens whose images are
            duplicates there get one gathering, so that no split separates them.
        look: only describe what would be read; nothing is written. Short: `herbray catalogue FILE --look`.
    """

    source: Source
    names: Names = Names()
    out: Path = Path("runs/catalogue")
    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    duplicates: tuple[Path, ...] = ()
    look: bool = False


def build(spec: Catalogue) -> dict[str, Any]:
    """Read the source, tidy the rows, quarantine unusable rows and write the tables and the manifest.

    Tidying strips all text except paths, replaces empty text by null, and reads the names (`herbray.data.names`). Rows
    without an id or an image, rows that repeat the id of an earlier row, and rows with malformed `mask_boxes` go to
    quarantine. Rows without a genus stay in the catalogue, but no split uses them. Specimens that share an image get
    one gathering (`herbray.data.shared_images`). Specimens of one gathering or image that have different names are
    listed in `conflicts.parquet`.

    Each file is written under a temporary name and renamed, the manifest last: a folder with a manifest is complete.

    Returns:
        The manifest: versions, source and citation; counts, where `input` = `ok` + `quarantined` + `skipped`; refusals
        and skipped rows by reason; `data`, what the source says about its data; `notes`, sentences on what was found
        and changed; the number of names of each rank and of specimens of each institution; and the `fingerprint` of
        the rows.

    Raises:
        ValueError: the source cannot be read or has no rows.
        QuarantineLimit: too many rows were refused; all of them are in `quarantine.parquet`.
    """
    refused, account = RefusalLog(), Account()
    batches = list(spec.source.read(refused, account))
    given = pa.Table.from_batches(batches, schema=batches[0].schema if batches else CATALOGUE)
    count = len(given) + len(refused.rows)
    if count == 0 and account.facts:
        raise ValueError(f"{spec.source.name}: no row can be used ({_format_reasons(account.skipped)}); {_HINT}")
    if count == 0:
        raise ValueError(f"source {spec.source.name!r} has no rows; check its settings: {spec.source!r}")
    usable = refuse_unusable(tidy_text(given), refused, storage.show(spec.source.root))
    del batches, given  # of millions of rows, each copy takes hundreds of megabytes
    kept, conflicts, notes = tidy(usable, spec)
    del usable
    quarantine = refused.table()
    if len(kept) + len(quarantine) != count:
        raise RuntimeError(
            f"{count} rows came in, {len(kept)} + {len(quarantine)} went out; this is a bug, please report it"
        )
    manifest = _make_manifest(spec, kept, quarantine, account)
    manifest["notes"] = [*notes, *describe_conflicts(conflicts, storage.show(spec.out / CONFLICTS_FILE))]
    _write(spec.out, account.tables | {"catalogue": kept, "quarantine": quarantine, "conflicts": conflicts}, manifest)
    if len(quarantine) > spec.max_quarantined * count or len(kept) == 0:
        raise QuarantineLimit(
            f"{len(quarantine):,} of {count:,} rows were refused ({_format_reasons(manifest['reasons'])}), but "
            f"max_quarantined is {spec.max_quarantined}; {spec.out / QUARANTINE_FILE} gives the reason for each row; "
            "correct the rows, or raise max_quarantined"
        )
    return manifest


def tidy_text(table: pa.Table) -> pa.Table:
    """Strip all texts except paths (file names may end in a space); empty texts become null."""
    columns = {}
    for name in table.column_names:
        stripped = pc.utf8_trim_whitespace(table[name])
        filled = pc.fill_null(pc.not_equal(stripped, ""), False)
        columns[name] = pc.if_else(filled, table[name] if name == "image" else stripped, pa.scalar(None, pa.string()))
    return pa.table(columns, schema=table.schema)


def tidy(table: pa.Table, spec: Catalogue) -> tuple[pa.Table, pa.Table, list[str]]:
    """Read the names of usable rows, find conflicts, and join the gatherings of specimens that share an image.

    Returns:
        The rows, with the column `herbray.schema.VERBATIM_NAME` at the end; conflicts in `herbray.schema.CONFLICT`; and
        sentences on what was found and changed.
    """
    names = read_names(table, spec.names)
    columns = {name: names.columns.get(name, table[name]) for name in table.column_names}
    tidied = pa.table(columns, schema=table.schema)
    files = name_images(tidied["image"], str(spec.source.root))
    conflicts = pa.concat_tables(
        [find_conflicts(tidied, files, "file"), find_conflicts(tidied, tidied["gathering"], "gathering")]
    )
    groups = [read_groups(folder, tidied["specimen_id"]) for folder in spec.duplicates]
    tidied, shared = join_gatherings(tidied, files, groups)
    absent = find_absent(tidied["image"])
    notes = [*names.notes, *shared]
    if absent:
        many = f"{len(absent):,} of {len(tidied):,} images are not there (e.g. {absent[0]})"
        notes.append(f"{many}: `herbray shard` will refuse them")
    return tidied.append_column(VERBATIM_NAME, names.columns[VERBATIM_NAME]), conflicts, notes


def read(folder: Path, verbatim: bool = False) -> pa.Table:
    """Read the catalogue in `folder`.

    Args:
        folder: that `build` wrote.
        verbatim: read the column `herbray.schema.VERBATIM_NAME` too.

    Returns:
        A table in `herbray.schema.CATALOGUE` or `MASKED_CATALOGUE`, `specimen_id` unique.

    Raises:
        ValueError: there is no catalogue, it is incomplete, or its tables have another version.
    """
    manifest = read_manifest(folder)
    file = tables.TableFile(folder / CATALOGUE_FILE, _remedy(folder))
    wanted = MASKED_CATALOGUE if MASK_BOXES in file.schema.names else CATALOGUE
    found = pa.schema(field for field in file.schema if field.name != VERBATIM_NAME)
    tables.check_columns(found, wanted, file.path, file.remedy)
    table = file.read(file.schema.names if verbatim else wanted.names)
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
        catalogue: a table in `herbray.schema.CATALOGUE` or `MASKED_CATALOGUE` with unique ids. Names as the source
            writes them are not part of the fingerprint.
        root: the folder that contains the images; see `name_images`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"herbray catalogue {VERSION}\0".encode())
    order = pc.sort_indices(catalogue["specimen_id"])
    for name in [name for name in catalogue.column_names if name != VERBATIM_NAME]:
        column = name_images(catalogue[name], root) if name == "image" else catalogue[name]
        texts = pc.take(column.cast(pa.large_string()), order).combine_chunks()
        lengths = pc.fill_null(pc.binary_length(texts), -1)  # distinguishes null from "", and "ab", "c" from "a", "bc"
        digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        for start in range(0, len(texts), 1 << 16):
            joined = "".join(pc.fill_null(texts.slice(start, 1 << 16), "").to_pylist())
            digest.update(joined.encode())
    return digest.hexdigest()


def _make_manifest(spec: Catalogue, kept: pa.Table, quarantine: pa.Table, account: Account) -> dict[str, Any]:
    root, skipped = storage.show(spec.source.root), account.skipped.total()
    settings = spec.source.model_dump(mode="json")
    return {
        "table": "catalogue",
        "schema_version": VERSION,
        "herbray": __version__,
        "source": {name: storage.show_all(str(value)) if name == "path" else value for name, value in settings.items()},
        "root": root,
        "citation": spec.source.citation or account.facts.get("citation", ""),
        "counts": {
            "input": len(kept) + len(quarantine) + skipped,
            "ok": len(kept),
            "quarantined": len(quarantine),
            "skipped": skipped,
        },
        "skipped": dict(account.skipped.most_common()),
        "data": account.facts,
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


def _write(out: Path, contents: dict[str, pa.Table], manifest: dict[str, Any]) -> None:
    storage.make_folder(out)
    storage.remove(out / MANIFEST_FILE)  # without a manifest the folder is incomplete
    for name, table in contents.items():
        tables.write(out / f"{name}.parquet", table)
    storage.write_note(out / MANIFEST_FILE, manifest)
