"""What a finished shards folder says of itself; read without Ray and without an image."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from herbray import schema


def read_index(shards: Path) -> pa.Table:
    """The bags of a finished shards folder, in `schema.INDEX`.

    Raises:
        ValueError: the folder holds no finished shards.
    """
    try:
        return pq.read_table(shards / "index.parquet", schema=schema.INDEX)
    except FileNotFoundError:
        raise ValueError(f"{shards}: no finished shards here; run `herbray shard` with out={shards} first") from None


def read_manifest(shards: Path) -> dict[str, Any]:
    """The manifest of a finished shards folder; raises ValueError as `read_index` does."""
    try:
        manifest: dict[str, Any] = json.loads((shards / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{shards}: no finished shards here; run `herbray shard` with out={shards} first") from None
    return manifest
