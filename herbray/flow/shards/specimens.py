"""The specimens of a shards folder: those of a split, and JPEGs of single specimens."""

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema, tables
from herbray.flow.shards.manifest import describe_remedy, list_files, read_index
from herbray.tables import TableFile

_NAMES: Final = ("specimen_id", "gathering", "institution")
_LOCATION: Final = pa.schema(
    [
        ("label", pa.string()),
        ("file", pa.string()),
        ("row_group", pa.int64()),
        ("row", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
_EMPTY: Final = pa.schema([*((name, pa.string()) for name in _NAMES), *_LOCATION]).empty_table()


def read_specimen_columns(shards: Path, split: str) -> pa.Table:
    """The columns of `schema.SPECIMEN` of a split; no image is read.

    Raises:
        DamagedFile: a file is damaged or missing.
    """
    files = list_files(shards, [split])
    found = [tables.read(shards / file, describe_remedy(shards), columns=schema.SPECIMEN.names) for file in files]
    return pa.concat_tables(found) if found else schema.SPECIMEN.empty_table()


def read_specimens(shards: Path, index: pa.Table, split: str) -> pa.Table:
    """The specimens of a split, in no particular order; no image is read.

    Args:
        shards: the folder.
        index: the index of the shards, in `schema.INDEX`.
        split: one of `schema.SPLITS`.

    Returns:
        `specimen_id`, `gathering`, `institution`, `label`; the location of the row (`file`, `row_group`, `row`); and
        `bytes`, the mean size of a row in its file, which approximates the size of its JPEG.

    Raises:
        DamagedFile: a file is missing or damaged.
        ValueError: the number of rows in a file is not that of the index.
    """
    bags = index.filter(pc.equal(index["split"], split)).sort_by([("file", "ascending"), ("row_group", "ascending")])
    columns = bags.select(["file", "row_group", "label", "rows"]).to_pylist()
    by_file = itertools.groupby(columns, key=lambda bag: bag["file"])
    return pa.concat_tables([_EMPTY, *(_read_file_specimens(shards, file, [*found]) for file, found in by_file)])


def find_specimens(shards: Path, ids: Collection[str]) -> pa.Table:
    """Some specimens of all splits, as `read_specimens` has them, in the order of files.

    Raises:
        DamagedFile: a file is missing or damaged.
    """
    index, wanted = read_index(shards), pa.array(list(ids), pa.string())
    splits = sorted(set(index["split"].to_pylist()))
    found = [read_specimens(shards, index, split) for split in splits]
    rows = pa.concat_tables(table.filter(pc.is_in(table["specimen_id"], value_set=wanted)) for table in found)
    return rows.sort_by([(name, "ascending") for name in ("file", "row_group", "row")])


def _read_file_specimens(shards: Path, name: str, bags: Sequence[dict[str, Any]]) -> pa.Table:
    file = TableFile(shards / name, describe_remedy(shards))
    counts = np.array([bag["rows"] for bag in bags])
    if file.rows != counts.sum():
        raise ValueError(
            f"{shards / name}: holds {file.rows} rows, the index says {counts.sum()}; {describe_remedy(shards)}"
        )
    groups = np.repeat([bag["row_group"] for bag in bags], counts)
    rows = np.arange(file.rows) - np.repeat(np.cumsum(counts) - counts, counts)
    size = file.bytes // file.rows
    labels = np.repeat(np.array([bag["label"] for bag in bags], object), counts)
    place = pa.table(
        [pa.array(labels, pa.string()), pa.array([name] * file.rows), groups, rows, np.full(file.rows, size)],
        schema=_LOCATION,
    )
    found = file.read(_NAMES).select(_NAMES).cast(_EMPTY.select(_NAMES).schema)
    return pa.table([*found.columns, *place.columns], schema=_EMPTY.schema)


def read_jpegs(shards: Path, specimens: pa.Table) -> list[bytes]:
    """The JPEGs of rows of `read_specimens`, in their order. Each row group is read once, as a whole.

    Raises:
        DamagedFile: a file is missing or damaged.
    """
    columns = (specimens[name].to_pylist() for name in ("file", "row_group", "row"))
    places = sorted(zip(*columns, range(len(specimens)), strict=True))
    found = [b""] * len(places)
    for name, in_file in itertools.groupby(places, key=lambda place: place[0]):
        file = TableFile(shards / name, describe_remedy(shards), memory_map=True)
        for group, in_group in itertools.groupby(in_file, key=lambda place: place[1]):
            column = file.read_group(group, ["jpeg"])["jpeg"]
            for _, _, row, number in in_group:
                found[number] = column[row].as_py()
    return found
