"""Tables in a bucket, on a real S3 server: what is fetched, and what happens to damage."""

import os

import pyarrow as pa
import pytest

from herbray import storage, tables
from herbray.data.imaging import originals
from herbray.storage import path_of, place_of, store
from herbray.tables import TableFile

ROWS = 64


def write_table(path):
    """A table of two small columns around 4 MB that do not compress, in eight row groups; returns it."""
    rows = {"id": [f"sheet {n}" for n in range(ROWS)], "jpeg": [os.urandom(65536) for _ in range(ROWS)]}
    table = pa.table(rows | {"label": ["Acer"] * ROWS})
    with tables.open_writer(path, table.schema, compression={"jpeg": "none", "id": "zstd", "label": "zstd"}) as file:
        file.write_table(table, row_group_size=ROWS // 8)
        tables.add_note(file, {"rows": ROWS})
    return table


def read_bytes(server, begun):
    return sum(size for _, _, _, size in server.requests()[begun:])


def test_only_the_columns_that_are_read_are_fetched_and_nothing_is_kept(bucket):
    path = path_of("s3://sheets/tables/part.parquet")
    table = write_table(path)
    path.unlink()
    begun = len(bucket.requests())
    assert tables.read(path, "", columns=["id"]).equals(table.select(["id"]))
    assert TableFile(path, "").note == {"rows": ROWS}
    assert read_bytes(bucket, begun) < 200_000
    assert not path.exists()


def test_a_mapped_table_is_fetched_whole_once(bucket):
    path = path_of("s3://sheets/mapped/part.parquet")
    table = write_table(path)
    path.unlink()
    storage.cache._verified.clear()
    begun = len(bucket.requests())
    for _ in range(3):
        file = TableFile(path, "", memory_map=True)
        assert file.read_group(2, ["jpeg"])["jpeg"].equals(table["jpeg"].slice(16, 8))
    assert [row[0] for row in bucket.requests()[begun:]].count("GET") == 1
    assert file.bytes == path.stat().st_size


def test_damage_in_the_bucket_is_not_kept_as_a_copy(bucket):
    path = path_of("s3://sheets/damage/part.parquet")
    write_table(path)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    store.put_bytes(place_of(path), bytes(data))
    path.unlink()
    storage.cache._verified.clear()
    with pytest.raises(
        storage.DamagedFile, match=r"s3://sheets/damage/part.parquet: damaged, its content.*; run it again"
    ):
        TableFile(path, "run it again", memory_map=True)
    assert not path.exists()
    with pytest.raises(storage.DamagedFile, match="damaged"):
        tables.verify(path, "run it again")
    with pytest.raises(storage.MissingFile, match=r"s3://sheets/damage/none.parquet: this file is missing"):
        tables.read(path.with_name("none.parquet"), "run it again")


def test_a_store_that_is_silent_is_no_damage(bucket):
    path = path_of("s3://sheets/silent/part.parquet")
    write_table(path)
    file = TableFile(path, "")
    with bucket.out_of_order(), pytest.raises(storage.StoreUnreachable, match="the store does not answer"):
        file.read(["jpeg"])
    with bucket.out_of_order(), pytest.raises(storage.StoreUnreachable):
        TableFile(path, "")


def test_an_image_is_read_from_its_address(bucket):
    store.put_bytes(place_of(path_of("s3://sheets/images/a.jpg")), b"jpeg")
    assert originals.read_bytes("s3://sheets/images/a.jpg") == b"jpeg"
    with pytest.raises(originals.ImageRefused, match="addresses of type ftp:// are not supported"):
        originals.read_bytes("ftp://host/a.jpg")
    with pytest.raises(originals.ImageRefused, match="no such object"):
        originals.read_bytes("s3://sheets/images/none.jpg")
