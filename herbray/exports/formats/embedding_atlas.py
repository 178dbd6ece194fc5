"""All sheets as Parquet for Embedding Atlas: a place on a map, the most similar sheets, what is said of the name."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from herbray import tables
from herbray.exports.batch import Batch, Written
from herbray.exports.viewers import VIEW, view_sheets
from herbray.neighbours.projection import project
from herbray.neighbours.search import NearestRows, find_all_nearest

NEIGHBOURS = pa.struct([pa.field("ids", pa.list_(pa.int64())), pa.field("distances", pa.list_(pa.float64()))])
"""The most similar sheets: their rows in the table, and 1 - cosine, the nearest first."""


def write(batch: Batch, folder: Path) -> Written:
    """Write `embedding-atlas.parquet`.

    Raises:
        ValueError: the batch has no collection with features.
    """
    if batch.collection is None or batch.collection.features is None:
        raise ValueError("embedding-atlas: needs the features of the sheets; set embeddings to an embeddings folder")
    features, path = batch.collection.features, folder / "embedding-atlas.parquet"
    places = project(features, np.ones(len(features), np.bool_), batch.projection)
    near = find_all_nearest(features, np.arange(len(features)), batch.neighbours)
    columns: dict[str, Any] = {name: [] for name in VIEW.names}
    for row in view_sheets(batch):
        for name, values in columns.items():
            values.append(row[name])
    columns |= {"x": places[:, 0], "y": places[:, 1], "neighbors": _list_neighbours(near)}
    schema = pa.schema([*VIEW, ("x", pa.float64()), ("y", pa.float64()), ("neighbors", NEIGHBOURS)])
    tables.write(path, pa.table(columns, schema=schema))
    return Written(path, len(features), "sheets")


def _list_neighbours(near: NearestRows) -> list[dict[str, list[Any]]]:
    """The neighbours of each row, in the order of the rows."""
    found: list[dict[str, list[Any]]] = [{} for _ in near.rows]
    for row, others, cosine, valid in zip(near.rows, near.neighbours, near.cosine, near.valid, strict=True):
        found[row] = {"ids": others[valid].tolist(), "distances": (1 - cosine[valid]).tolist()}
    return found
