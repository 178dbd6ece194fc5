"""An embeddings folder: one Parquet file per shard file, and a manifest that is written last."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from herbray import schema, storage, tables
from herbray.tasks import Embeddings


def read_embeddings(folder: Path) -> pa.Table:
    """All splits of an embeddings folder, in `schema.embedding_schema`, sorted by split and specimen.

    Raises:
        ValueError: the folder holds no embeddings, or a damaged file.
    """
    return _read(folder).sort_by([("split", "ascending"), ("specimen_id", "ascending")])


def read_labels(folder: Path) -> Embeddings:
    """The specimens of an embeddings folder, without their features; raises as `read_embeddings`."""
    return Embeddings.from_labels(_read(folder, [*schema.SPECIMEN.names, "split"]))


def _read(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    files = sorted(folder.glob("split=*/part-*.parquet"))
    if not files:
        raise ValueError(f"{folder}: no embeddings here; run `herbray embed` first")
    return pa.concat_tables([tables.read(file, remedy(folder), columns=columns) for file in files])


def read_note(folder: Path) -> dict[str, Any]:
    """The manifest of an embeddings folder: the encoder and the shards that it was made from.

    Raises:
        ValueError: the embeddings are not finished, or the manifest is damaged or from an earlier version.
    """
    if not (folder / "manifest.json").exists():
        raise ValueError(f"{folder}: no finished embeddings here; run `herbray embed` first")
    return storage.read_note(folder / "manifest.json", remedy(folder))


def remedy(folder: Path) -> str:
    """What to do about a damaged or missing file of an embeddings folder."""
    return (
        f"run `herbray embed` with out={folder.parent} again: it remakes damaged files and leaves the others alone; "
        "or remove the folder if its encoder is no longer needed"
    )
