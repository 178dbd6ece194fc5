"""Index and manifest of a finished shards folder; read without Ray and without reading images."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema, storage, tables


def describe_remedy(shards: Path) -> str:
    """What to do about a damaged or missing file of a shards folder."""
    return f"run `herbray shard` with out={shards} again: it remakes damaged files and leaves the others alone"


def read_index(shards: Path) -> pa.Table:
    """The bags of a finished shards folder, in `schema.INDEX`.

    Raises:
        ValueError: the folder holds no finished shards, or a damaged index.
    """
    _check_finished(shards)
    return tables.read(shards / "index.parquet", describe_remedy(shards), schema.INDEX)


def read_lineages(shards: Path) -> pa.Table:
    """The names of the labels at higher ranks, in `schema.LINEAGE`; raises as `read_index` does."""
    _check_finished(shards)
    return tables.read(shards / "lineage.parquet", describe_remedy(shards), schema.LINEAGE)


def list_files(shards: Path, splits: Collection[str]) -> list[str]:
    """The files of some splits, relative to the folder, as the index has them.

    Raises:
        MissingFile: a file of the index is missing.
        ValueError: as `read_index`.
    """
    index = read_index(shards)
    files = sorted(set(index.filter(pc.is_in(index["split"], pa.array(splits, pa.string())))["file"].to_pylist()))
    there = storage.file_sizes(shards)
    for file in files:
        if shards / file not in there:
            raise storage.MissingFile(shards / file, describe_remedy(shards))
    return files


def read_manifest(shards: Path) -> dict[str, Any]:
    """The manifest of a finished shards folder; raises ValueError as `read_index` does."""
    _check_finished(shards)
    return storage.read_note(shards / "manifest.json", describe_remedy(shards))


def _check_finished(shards: Path) -> None:
    missing = shards / "manifest.json"
    if not storage.is_file(missing):
        raise ValueError(f"{missing} is missing: no finished shards here; run `herbray shard` with out={shards} first")
