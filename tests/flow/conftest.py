import itertools

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg

from herbray import schema, storage, tables
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.shards.write_file import write_shard_file
from herbray.model.encoder import EncoderSpec


def jpeg(name, genus, side, long):
    """A picture that its name and genus make."""
    seeds = [np.random.default_rng([*text.encode()]) for text in (genus, name)]
    coarse = seeds[0].integers(0, 200, (4, 4, 3)) + seeds[1].integers(0, 56, (4, 4, 3))
    pixels = np.repeat(np.repeat(coarse, -(-long // 4), axis=0), -(-side // 4), axis=1)[:long, :side]
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels.astype(np.uint8)))


def written(folder, splits, bag=8, side=40, long=50):
    index = []
    for split, specimens in splits.items():
        name = f"split={split}/part-00000.parquet"
        form = {"compression": {"jpeg": "none"}, "use_dictionary": False, "write_statistics": False}
        with tables.open_writer(folder / name, schema.SHARD, **form) as file:
            for genus, rows in itertools.groupby(sorted(specimens, key=lambda each: each[1]), key=lambda each: each[1]):
                rows = list(rows)
                for start in range(0, len(rows), bag):
                    part = rows[start : start + bag]
                    values = {column: [None] * len(part) for column in schema.SHARD.names}
                    values |= {"specimen_id": [row[0] for row in part], "genus": [genus] * len(part)}
                    values |= {"gathering": [row[2] for row in part]}
                    values |= {"institution": [row[3] if len(row) > 3 else None for row in part]}
                    values |= {"width": [side] * len(part), "height": [long] * len(part)}
                    values |= {"jpeg": [jpeg(row[0], genus, side, long) for row in part]}
                    number = sum(each["split"] == split for each in index)
                    index.append({"split": split, "file": name, "row_group": number, "label": genus, "rows": len(part)})
                    file.write_table(pa.Table.from_pydict(values, schema=schema.SHARD), row_group_size=bag)
    tables.write(folder / "index.parquet", pa.Table.from_pylist(index, schema=schema.INDEX))
    rows = {split: len(specimens) for split, specimens in splits.items()}
    manifest = {"side": side, "rank": "genus", "fingerprint": f"{folder.name}", "citation": "drawn", "splits": rows}
    storage.write_note(folder / "manifest.json", manifest)
    return folder


@pytest.fixture(scope="session")
def write_shards():
    """Writes a shards folder without Ray, of `splits`: lists of (specimen, genus, gathering[, institution])."""
    return written


def long_tail(split, most, genera=12):
    """Specimens of genera of 1 to `most`: some of gatherings of two, some of unknown gatherings."""
    return [
        (f"{split}-{genus}-{number}", f"Genus{genus:02d}", f"{genus}-{number // 2}" if number % 3 else None)
        for genus in range(genera)
        for number in range(1 + genus * (most - 1) // (genera - 1))
    ]


LONG = "Longa" + "n" * 10_000
AWKWARD = ("Alba", "</script><img src=x onerror=document.title='run'>", "=Cmd|' /C calc'!A0", "\u202eوردة", LONG)
"""Genera: plain, HTML, a formula, right to left, too long."""


@pytest.fixture(scope="session")
def photographed(tmp_path_factory):
    """A folder with 40 original images, their shards and the embeddings of a small encoder; sheet @007 has no genus."""
    root = tmp_path_factory.mktemp("photographed")
    rows = []
    for number in range(40):
        genus, path = AWKWARD[number % 5], root / "originals" / f"{number:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(f"{number}", genus, 60, 80))
        row = dict.fromkeys(schema.CATALOGUE.names)
        row |= {"specimen_id": f"@{number:03d}", "image": str(path), "genus": None if number == 7 else genus}
        row |= {"family": ("Rosaceae", "Fagaceae")[number % 5 % 2], "institution": ("NY", "K", None)[number % 3]}
        row |= {"license": genus, "reference": "javascript:x" if number % 2 else f"https://example.org/{number}"}
        rows.append(row | {"catalog_number": f"NY-{number}"})
    shards, name = root / "shards", "split=random/part-00000.parquet"
    table = pa.Table.from_pylist(rows, schema=schema.CATALOGUE)
    note = write_shard_file(str(shards), name, table, [("all", len(rows))], (40, 90), str(root))
    index = [{"split": "random", "file": name, **bag} for bag in note["bags"]]
    tables.write(shards / "index.parquet", pa.Table.from_pylist(index, schema=schema.INDEX))
    manifest = {"side": 40, "quality": 90, "rank": "genus", "fingerprint": "s1", "splits": {"random": len(rows)}}
    storage.write_note(shards / "manifest.json", manifest)
    start = EncoderSpec(arch="mobilenet_v3_small", init="random", size=32)
    embed(Embed(model="start", start=start, shards=shards, out=root / "embeddings", splits=("random",), actors=0))
    return root


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory):
    """Training and validation alone, of 12 genera; see `write_shards` and `long_tail`."""
    splits = {"train": long_tail("train", 12), "validation": long_tail("validation", 20)}
    return written(tmp_path_factory.mktemp("small") / "shards", splits)


@pytest.fixture(scope="session")
def long_epoch(tmp_path_factory):
    """Shards whose epoch has 250 windows of two bags; see `write_shards`."""
    train = [(f"train-{genus}-{number}", f"Genus{genus:02d}", None) for genus in range(10) for number in range(400)]
    splits = {"train": train, "validation": long_tail("validation", 10)}
    return written(tmp_path_factory.mktemp("long") / "shards", splits)
