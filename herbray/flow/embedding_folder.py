"""An embeddings folder: one Parquet file per shard file, and a manifest that is written last."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from herbray import schema, storage, tables
from herbray.flow.shards.manifest import read_manifest
from herbray.tasks import Embeddings

_ORDER: Final = [("split", "ascending"), ("specimen_id", "ascending")]


def read_embeddings(folder: Path) -> pa.Table:
    """All splits of an embeddings folder, in `schema.embedding_schema`, sorted by split and specimen.

    Raises:
        ValueError: the folder holds no embeddings or a damaged file, or has lost a file.
    """
    return _read(folder).sort_by(_ORDER)


def read_sheets(folder: Path) -> pa.Table:
    """As `read_embeddings`, without the embeddings."""
    return _read(folder, [*schema.SPECIMEN.names, "split"]).sort_by(_ORDER)


def load_embeddings(folder: Path) -> Embeddings:
    """The embeddings of a folder as tasks read them; beside the matrix, one file is in memory at a time.

    Raises:
        ValueError: as `read_embeddings`, or the files hold embeddings of several lengths or values that are not finite.
    """
    labels = _read(folder, [*schema.SPECIMEN.names, "split"])
    files = storage.glob(folder, "split=*/part-*.parquet")
    return Embeddings.from_files(labels, read_dim(folder), _iter_features(folder, files))


def read_dim(folder: Path) -> int:
    """The length of the embeddings of a folder.

    Raises:
        ValueError: its files hold embeddings of several lengths, or of another type.
    """
    found: dict[int, Path] = {}
    for file in storage.glob(folder, "split=*/part-*.parquet"):
        kind = tables.TableFile(file, describe_remedy(folder)).schema.field("embedding").type
        if not pa.types.is_fixed_size_list(kind):
            raise ValueError(f"{file}: the embeddings have type {kind}, not a fixed length; {describe_remedy(folder)}")
        found.setdefault(kind.list_size, file)
    if len(found) > 1:
        each = " and ".join(f"{file} of {dim} numbers" for dim, file in found.items())
        raise ValueError(f"{folder}: embeddings of several lengths, {each}; {describe_remedy(folder)}")
    return next(iter(found), 0)


def _iter_features(folder: Path, files: Sequence[Path]) -> Iterator[pa.ChunkedArray]:
    for file in files:
        yield tables.read(file, describe_remedy(folder), columns=["embedding"])["embedding"]


def read_labels(folder: Path) -> Embeddings:
    """The specimens of an embeddings folder, without their features; raises as `read_embeddings`."""
    return Embeddings.from_labels(_read(folder, [*schema.SPECIMEN.names, "split"]))


def _read(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    files = storage.glob(folder, "split=*/part-*.parquet")
    finished = storage.is_file(folder / "manifest.json")
    if not files and not finished:
        raise ValueError(f"{folder}: no embeddings here; run `herbray embed` first")
    found = {file: tables.read(file, describe_remedy(folder), columns=columns) for file in files}
    if finished:
        _check_complete(folder, found)
    return pa.concat_tables(found.values())


def _check_complete(folder: Path, found: Mapping[Path, pa.Table]) -> None:
    """Refuse a folder that has lost a file: the others alone would give other results."""
    note = read_note(folder)
    for name in note.get("files", []):
        if folder / name not in found:
            raise storage.MissingFile(folder / name, describe_remedy(folder))
    rows = Counter[str]()
    for file, table in found.items():
        rows[file.parent.name.removeprefix("split=")] += len(table)
    for split, expected in note.get("splits", {}).items():
        if rows[split] != expected:
            path = folder / f"split={split}"
            raise ValueError(
                f"{path}: a file is missing: {rows[split]:,} of {expected:,} specimens are here; "
                f"{describe_remedy(folder)}"
            )


def read_note(folder: Path) -> dict[str, Any]:
    """The manifest of an embeddings folder: the encoder and the shards that it was made from.

    Raises:
        ValueError: the embeddings are not finished, or the manifest is damaged or from an earlier version.
    """
    if not storage.is_file(folder / "manifest.json"):
        raise ValueError(f"{folder}: no finished embeddings here; run `herbray embed` first")
    return storage.read_note(folder / "manifest.json", describe_remedy(folder))


def check_shards(shards: Path, note: Mapping[str, Any]) -> dict[str, Any]:
    """Check that embeddings were made from these shards, and return the manifest of the shards.

    Args:
        shards: the folder.
        note: manifest of the embeddings.

    Raises:
        ValueError: they were made from others, or the folder holds no finished shards.
    """
    manifest = read_manifest(shards)
    if manifest["fingerprint"] != note.get("shards"):
        raise ValueError(
            f"{shards}: not the shards of these embeddings, so pictures and names might not fit; set shards to "
            "the folder that `herbray embed` read"
        )
    return manifest


def describe_remedy(folder: Path) -> str:
    """What to do about a damaged or missing file of an embeddings folder."""
    return (
        f"run `herbray embed` with out={folder.parent} again: it remakes damaged files and leaves the others alone; "
        "or remove the folder if its encoder is no longer needed"
    )
