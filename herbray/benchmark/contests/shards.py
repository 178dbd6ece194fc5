"""Synthetic shards folders of any size, written within seconds: few distinct pictures, many rows."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import simplejpeg

from herbray import schema, storage, tables

_BAG: Final = 32
_PICTURES: Final = 64


def write_shards(
    folder: Path, rows: int, side: int, seed: int, genera: int = 40, validation: int = 0, bag: int = _BAG
) -> Path:
    """Write one training file of at least `rows` images, in whole bags, and a validation file if `validation` > 0.

    Args:
        folder: folder to write.
        rows: number of training images.
        side: height and width in pixels.
        seed: seed of the pictures.
        genera: number of genera, assigned to the bags in turn.
        validation: number of validation images.
        bag: rows of one genus that lie together.

    Returns:
        The training file.
    """
    pictures = _pictures(side, seed)
    bags = {split: -(-images // bag) for split, images in (("train", rows), ("validation", validation)) if images}
    index: list[dict[str, object]] = []
    for split, count in bags.items():
        numbers = range(len(index), len(index) + count)
        index += _write_split(folder, split, numbers, pictures, side, genera, bag)
    tables.write(folder / "index.parquet", pa.Table.from_pylist(index, schema=schema.INDEX))
    manifest = {
        "side": side,
        "rank": "genus",
        "fingerprint": f"pictures-{rows}-{side}-{seed}",
        "citation": "none: drawn pictures",
    }
    manifest |= {"splits": {split: count * bag for split, count in bags.items()}}
    storage.write_note(folder / "manifest.json", manifest)
    return folder / _file_of("train")


def _file_of(split: str) -> str:
    return f"split={split}/part-00000.parquet"


def _write_split(
    folder: Path, split: str, bags: range, pictures: list[bytes], side: int, genera: int, rows: int
) -> list[dict[str, object]]:
    """Write one file of whole bags; returns its rows of the index."""
    compression = {field.name: "none" if field.name == "jpeg" else "zstd" for field in schema.SHARD}
    chosen = {"compression": compression, "use_dictionary": False, "write_statistics": False}
    index: list[dict[str, object]] = []
    with tables.open_writer(folder / _file_of(split), schema.SHARD, **chosen) as file:
        for group, bag in enumerate(bags):
            genus = f"Planta{bag % genera:03d}"
            file.write_table(_bag(bag, genus, pictures, side, rows), row_group_size=rows)
            index.append({"split": split, "file": _file_of(split), "row_group": group, "label": genus, "rows": rows})
    return index


def _pictures(side: int, seed: int) -> list[bytes]:
    """Soft patches under fine grain, with about as many bytes per pixel as a photographed sheet."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 230, (_PICTURES, side // 8 + 1, side // 8 + 1, 3))
    soft = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side]
    grainy = (soft + rng.normal(0, 6, soft.shape)).clip(0, 255).astype(np.uint8)
    return [simplejpeg.encode_jpeg(np.ascontiguousarray(one), quality=90) for one in grainy]


def _bag(number: int, genus: str, pictures: list[bytes], side: int, rows: int) -> pa.Table:
    values: dict[str, list[object]] = {name: [""] * rows for name in schema.SHARD.names}
    values["gathering"] = [None] * rows
    values["specimen_id"] = [f"P{number * rows + row:09d}" for row in range(rows)]
    values["genus"] = [genus] * rows
    values["width"] = values["height"] = [side] * rows
    values["jpeg"] = [pictures[(number * rows + row) % len(pictures)] for row in range(rows)]
    return pa.Table.from_pydict(values, schema=schema.SHARD)
