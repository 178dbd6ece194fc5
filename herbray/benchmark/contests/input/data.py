"""The data of the input benchmark: drawn sheets, each used several times under other ids, as shards and as files."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from herbray import schema, storage, tables
from herbray.data.imaging import images, originals
from herbray.data.sources.synthetic import Synthetic

BAG: Final = 32
_BAGS_A_FILE: Final = 64


def draw_pictures(folder: Path, sheets: int, side: int, seed: int) -> list[images.JpegImage]:
    """Draw synthetic sheets and resize them as the shard job does."""
    source = Synthetic(path=folder, sheets=sheets, size=side, seed=seed)
    paths = [name for part in source.read(_refuse) for name in part.column("image").to_pylist()]
    return [images.shrink_to_jpeg(originals.read_bytes(path), side) for path in paths]


def write_files(folder: Path, pictures: list[images.JpegImage], rows: int) -> list[str]:
    """Write one JPEG file per row; returns the paths."""
    folder.mkdir(parents=True)
    paths = [folder / f"{row:07d}.jpg" for row in range(rows)]
    for row, path in enumerate(paths):
        path.write_bytes(pictures[row % len(pictures)].jpeg)
    return [str(path) for path in paths]


def write_shards(folder: Path, pictures: list[images.JpegImage], rows: int, side: int) -> None:
    """Write a shards folder of at least `rows` rows, in whole bags of `BAG`, in the layout of the shard job."""
    bags = -(-rows // BAG)
    index = []
    for first in range(0, bags, _BAGS_A_FILE):
        name = f"split=train/part-{first // _BAGS_A_FILE:05d}.parquet"
        compression = {field.name: "none" if field.name == "jpeg" else "zstd" for field in schema.SHARD}
        chosen = {"compression": compression, "use_dictionary": False, "write_statistics": False}
        with tables.open_writer(folder / name, schema.SHARD, **chosen) as file:
            for group, bag in enumerate(range(first, min(first + _BAGS_A_FILE, bags))):
                file.write_table(_bag(bag, pictures), row_group_size=BAG)
                index.append(
                    {"split": "train", "file": name, "row_group": group, "label": f"Genus{bag % 20:02d}", "rows": BAG}
                )
    tables.write(folder / "index.parquet", pa.Table.from_pylist(index, schema=schema.INDEX))
    note = {"side": side, "rank": "genus", "fingerprint": f"benchmark-{rows}", "citation": ""}
    storage.write_note(folder / "manifest.json", note)


def _bag(bag: int, pictures: list[images.JpegImage]) -> pa.Table:
    rows = range(bag * BAG, (bag + 1) * BAG)
    some = [pictures[int(i)] for i in np.random.default_rng([7, bag]).integers(0, len(pictures), BAG)]
    values: dict[str, list[object]] = {name: [""] * BAG for name in schema.SHARD.names}
    values |= {
        "specimen_id": [f"specimen-{row:07d}" for row in rows],
        "genus": [f"Genus{bag % 20:02d}"] * BAG,
        "width": [one.width for one in some],
        "height": [one.height for one in some],
        "jpeg": [one.jpeg for one in some],
    }
    return pa.Table.from_pydict(values, schema=schema.SHARD)


def _refuse(*args: object, **more: object) -> None:
    raise RuntimeError(f"a drawn sheet was refused: {args} {more}")
