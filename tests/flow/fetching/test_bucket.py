from web_server import draw

from herbray import tables
from herbray.data.imaging.originals import read_bytes
from herbray.data.web.fetched import locate_images
from herbray.data.web.records import Journal, Record, compact, new_name, read_records
from herbray.storage import path_of


def test_images_in_a_bucket_are_found_by_the_shard_job(server, fetch_all, bucket):
    folder = path_of("s3://sheets/images")
    addresses = [server.url(f"/{kind}/7.jpg") for kind in ("ok", "404", "to")]
    assert fetch_all(addresses, out=folder)["counts"] == {"images": 3, "fetched": 2, "quarantined": 1, "skipped": 0}
    before = len(server.log)
    assert fetch_all(out=folder)["counts"]["fetched"] == 2
    assert len(server.log) == before
    rows = tables.read(folder / "images.parquet", "")
    located = locate_images(rows["image"], folder).to_pylist()
    assert all(image.startswith("s3://sheets/images/files/") for image in located)
    assert {read_bytes(image) for image in located} == {draw(7)}


def test_a_journal_in_a_bucket_is_written_in_parts(bucket):
    folder = path_of("s3://sheets/journal")
    with Journal(folder, new_name(0)) as journal:
        journal.append(Record("x"))
        assert read_records(folder) == {}
        journal._since -= 60
        journal.append(Record("y"))
        assert read_records(folder).keys() == {"x", "y"}
        journal.append(Record("x", reason="robots"))
    assert read_records(folder)["x"].reason == "robots"
    compact(folder, [Record("z")])
    assert read_records(folder).keys() == {"z"}
