"""Duplicates among images, from the catalogue to shards and back, in this process."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg

from herbray import schema, tables
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources import Folder
from herbray.data.splitting.splits import Splits
from herbray.flow.shards import build
from herbray.flow.shards.build import Shard
from herbray.flow.shards.duplicates import write_duplicates
from herbray.flow.shards.write_file import write_shard_file

RNG = np.random.default_rng(89)


@pytest.fixture
def sheets(tmp_path):
    """24 sheets of two genera, each twice: half of the copies equal, half compressed again; one copy is misfiled."""
    folder = tmp_path / "sheets"
    folder.mkdir()
    lines = ["specimen_id,image,genus"]
    for number in range(12):
        coarse = RNG.integers(60, 250, (9, 6, 1), np.uint8).repeat(3, 2)
        pixels = np.ascontiguousarray(np.kron(coarse, np.ones((12, 12, 1), np.uint8)))
        genus = "Zea" if number % 2 else "Rubus"
        for copy, quality in enumerate((95, 95 if number < 6 else 85)):
            data = simplejpeg.encode_jpeg(pixels, quality=quality)
            (folder / f"{number}-{copy}.jpg").write_bytes(data)
            lines.append(f"{number}-{copy},{number}-{copy}.jpg,{'Alnus' if (number, copy) == (3, 1) else genus}")
    lines.append("broken,broken.jpg,Zea")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def write_shards(spec):
    """What the job does, without Ray."""
    table = build.read_catalogue(spec)
    assignment = catalogue_splits(spec, table)
    files = build.plan_files(spec, build.JudgedSpecimens(table, assignment))
    notes = []
    for file in files:
        bags = [(label, len(part)) for label, part in zip(file.labels, file.bags, strict=True)]
        rows = table.take(pa.array(file.rows))
        notes.append(write_shard_file(str(spec.out), file.path, rows, bags, spec.shrink, (str(spec.catalogue),)))
    return write_duplicates(spec.out, table, files, notes)


def catalogue_splits(spec, table):
    return build.split(table, spec.splits, spec.seed)


def test_duplicates_are_found_and_the_next_catalogue_keeps_them_on_one_side(tmp_path, sheets):
    first = Catalogue(source=Folder(path=sheets), out=tmp_path / "catalogue")
    shards = Shard(
        catalogue=first.out,
        out=tmp_path / "shards",
        side=64,
        splits=Splits(home=None, species=0, random=0.3, validation=0.3, min_train=1),
    )
    catalogue.build(first)
    found = write_shards(shards)
    assert (found["duplicates"]["image"], found["duplicates"]["near_image"]) == (6, 6)
    assert found["duplicates"]["in_several_splits"] > 0
    assert f"run `herbray catalogue` with duplicates=[{shards.out}]" in " ".join(found["notes"])
    table = tables.read(shards.out / "duplicates.parquet", "", schema.DUPLICATE)
    assert {row["group"] for row in table.to_pylist()} == {f"{number}-0" for number in range(12)}
    assert "broken" not in table["specimen_id"].to_pylist()
    conflicts = tables.read(shards.out / "conflicts.parquet", "", schema.CONFLICT).to_pylist()
    assert [(row["specimen_id"], row["kind"], row["given"], row["suggested"]) for row in conflicts] == [
        ("3-0", "image", "Zea", "Alnus"),
        ("3-1", "image", "Alnus", "Zea"),
    ]
    again = first.model_copy(update={"duplicates": (shards.out,), "out": tmp_path / "again"})
    assert "24 rows are duplicates" in " ".join(catalogue.build(again)["notes"])
    assert write_shards(shards.model_copy(update={"catalogue": again.out}))["duplicates"] == {
        "image": 6,
        "near_image": 6,
        "in_several_splits": 0,
    }


def test_a_file_of_an_earlier_version_without_perceptual_hashes_is_written_again(tmp_path, sheets):
    rows = pa.table(
        {name: [None] for name in schema.CATALOGUE.names} | {"specimen_id": ["a"], "image": [f"{sheets}/0-0.jpg"]},
        schema=schema.CATALOGUE,
    )
    arguments = (str(tmp_path), "split=train/part-00000.parquet", rows, [("Zea", 1)], (32, 90), (str(sheets),))
    note = write_shard_file(*arguments)
    path = tmp_path / note["file"]
    assert write_shard_file(*arguments) == note
    content = pq.read_table(path).cast(schema.SHARD)
    tables.write(path, content, {name: value for name, value in note.items() if name != "prints"})
    assert write_shard_file(*arguments) == note


def test_a_catalogue_with_duplicates_of_shards_that_are_not_there_says_what_to_do(tmp_path, sheets):
    spec = Catalogue(source=Folder(path=sheets), out=tmp_path / "catalogue", duplicates=(tmp_path / "none",))
    with pytest.raises(ValueError, match=r"run `herbray shard` with out=.*none"):
        catalogue.build(spec)
