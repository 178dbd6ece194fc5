"""Single specimens of a shards folder: which there are in a split, and the JPEGs of some of them."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def read_specimens(shards: Path, index: pa.Table, split: str) -> pa.Table:
    """The specimens of a split, in no particular order; no image is read.

    Args:
        shards: the folder.
        index: its rows of `schema.INDEX`.
        split: one of `schema.SPLITS`.

    Returns:
        `specimen_id`, `genus`, `gathering`, where the row lies (`file`, `row_group`, `row`), and `bytes`, the mean size
        of the JPEGs of its row group.

    Raises:
        ValueError: a file is not what the index says; the shards were changed or damaged.
    """
    bags = index.filter(pc.equal(index["split"], split))
    rows = bags.group_by("file").aggregate([("rows", "sum")]).sort_by("file").to_pylist()
    return pa.concat_tables([_file(shards, each["file"], each["rows_sum"]) for each in rows]) if rows else _NOBODY


_PLACE = [("file", pa.string()), ("row_group", pa.int64()), ("row", pa.int64()), ("bytes", pa.float64())]
_NOBODY = pa.schema([(name, pa.string()) for name in ("specimen_id", "genus", "gathering")] + _PLACE).empty_table()


def _file(shards: Path, name: str, rows: int) -> pa.Table:
    shard = pq.ParquetFile(shards / name)
    table = shard.read(columns=["specimen_id", "genus", "gathering"])
    if len(table) != rows:
        raise ValueError(f"{shards / name}: holds {len(table)} rows, the index says {rows}; run `herbray shard` again")
    jpeg = shard.schema_arrow.get_field_index("jpeg")
    groups = [shard.metadata.row_group(number) for number in range(shard.num_row_groups)]
    counts = np.array([group.num_rows for group in groups], np.int64)
    sizes = np.array([group.column(jpeg).total_uncompressed_size for group in groups]) / np.maximum(counts, 1)
    row = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    place = [[name] * rows, np.repeat(np.arange(len(groups)), counts), row, np.repeat(sizes, counts)]
    for (column, kind), values in zip(_PLACE, place, strict=True):
        table = table.append_column(column, pa.array(values, kind))
    return table.select(_NOBODY.column_names).cast(_NOBODY.schema)


def read_jpegs(shards: Path, specimens: pa.Table) -> Sequence[bytes]:
    """The JPEGs of rows of `read_specimens`, in their order. Each row group is read once, a whole one at a time."""
    columns = (specimens[name].to_pylist() for name in ("file", "row_group", "row"))
    places = sorted(zip(*columns, range(len(specimens)), strict=True))
    found = [b""] * len(places)
    for file, in_file in itertools.groupby(places, key=lambda place: place[0]):
        shard = pq.ParquetFile(shards / file, memory_map=True)
        for group, in_group in itertools.groupby(in_file, key=lambda place: place[1]):
            column = shard.read_row_group(group, columns=["jpeg"], use_threads=False)["jpeg"]
            for _, _, row, number in in_group:
                found[number] = column[row].as_py()
    return found
