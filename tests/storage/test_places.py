"""Files and folders in a bucket, on a real S3 server."""

import os
import threading

import pytest

from herbray import storage
from herbray.model.sealed_folder import DamagedFolder, verify_sealed, write_sealed
from herbray.storage import cache, path_of, room, store
from herbray.storage.usage import read_usage


def requests(server, begun):
    return [row[:2] for row in server.requests()[begun:]]


def empty_disk():
    import shutil

    shutil.rmtree(cache.cache_of(path_of("s3://sheets")), ignore_errors=True)
    cache._verified.clear()


def test_a_note_is_one_object_that_another_machine_reads(bucket):
    note = path_of("s3://sheets/notes/run.json")
    assert not storage.is_file(note)
    with pytest.raises(storage.MissingFile, match=r"s3://sheets/notes/run.json: this file is missing; do so"):
        storage.read_note(note, "do so")
    storage.write_note(note, {"a": 1})
    empty_disk()
    assert storage.read_note(note, "do so") == {"a": 1}
    assert storage.glob(note.parent, "*.json") == [note]
    storage.remove(note)
    assert not storage.is_file(note)
    assert not storage.exists(note.parent)


def test_a_body_that_fails_writes_nothing(bucket):
    path = path_of("s3://sheets/failed/a.bin")
    with pytest.raises(IsADirectoryError), storage.replace_file(path) as temporary:
        (temporary.write_bytes(b"half"), path.parent.write_bytes(b""))
    assert not storage.is_file(path)
    assert not list(path.parent.iterdir())


def test_folders_are_listed_and_removed(bucket):
    folder = path_of("s3://sheets/list")
    for name in ("a/manifest.json", "b/manifest.json", "b/split=x/part-0.parquet", "top.txt"):
        storage.write_text(folder / name, name)
    assert storage.glob(folder, "*/manifest.json") == [folder / "a/manifest.json", folder / "b/manifest.json"]
    assert storage.glob(folder, "*") == [folder / "a", folder / "b", folder / "top.txt"]
    assert storage.glob(folder / "b", "split=*") == [folder / "b/split=x"]
    assert storage.glob(folder / "none", "*") == []
    assert storage.file_sizes(folder / "a") == {folder / "a/manifest.json": 15}
    storage.rename(folder / "top.txt", folder / "a/top.txt")
    assert storage.read_bytes(folder / "a/top.txt") == b"top.txt"
    storage.remove_folder(folder / "b", first="manifest.json")
    assert storage.glob(folder, "*") == [folder / "a"]
    assert not (folder / "b").exists()


def test_an_object_is_fetched_once_and_again_when_it_changes(bucket):
    path = path_of("s3://sheets/fetch/a.txt")
    storage.write_text(path, "one")
    empty_disk()
    before, sent = len(bucket.requests()), read_usage().get("fetched", 0)
    threads = [threading.Thread(target=cache.fetch, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [method for method, _ in requests(bucket, before)].count("GET") == 1
    assert read_usage()["fetched"] == sent + 1
    store.put_bytes(storage.place_of(path), b"two")  # another machine
    assert cache.fetch(path, trusted=True).read_text() == "one"
    assert cache.fetch(path).read_text() == "two"


def test_a_damaged_copy_is_fetched_again(bucket, caplog):
    path = path_of("s3://sheets/damaged/a.txt")
    storage.write_text(path, "right")
    path.write_text("wrong")  # of the same size
    cache._verified.clear()
    assert cache.fetch(path).read_text() == "right"
    assert "s3://sheets/damaged/a.txt: the local copy is damaged" in caplog.text
    path.write_text("longer than it was")
    assert cache.fetch(path).read_text() == "right"


def test_the_cache_stays_within_its_limit_and_drops_what_was_used_longest_ago(bucket, monkeypatch):
    monkeypatch.setenv("HERBRAY_CACHE_GB", "0.000003")
    paths = [path_of(f"s3://sheets/limit/{number}") for number in range(4)]
    for path in paths:
        storage.write_bytes(path, os.urandom(1000))
    empty_disk()
    for path in (*paths[:3], paths[0], paths[3]):
        cache.fetch(path)
    assert [path.exists() for path in paths] == [True, False, True, True]
    big = path_of("s3://sheets/limit/big")
    storage.write_bytes(big, bytes(4000))
    empty_disk()
    with pytest.raises(
        room.CacheTooSmall, match=r"s3://sheets/limit/big: .* more than the cache holds: set HERBRAY_CACHE_GB"
    ):
        cache.fetch(big)
    with pytest.raises(room.CacheTooSmall, match=r"0.0 GB are read in every epoch"):
        room.check_fits(5000, "s3://sheets/shards")


def test_a_sealed_folder_counts_only_with_its_seal(bucket, tmp_path):
    folder = path_of("s3://sheets/run/000000004")

    def fill(inside):
        (inside / "encoder").mkdir()
        storage.write_bytes(inside / "encoder/weights", b"w" * 100)
        storage.write_bytes(inside / "training.pt", b"t" * 100)

    before = len(bucket.requests())
    write_sealed(folder, fill, {"consumed": 4})
    puts = [path for method, path in requests(bucket, before) if method == "PUT"]
    assert [path.rpartition("/")[2] for path in puts] == ["weights", "training.pt", "checkpoint.json"]
    empty_disk()
    assert verify_sealed(folder) == {"consumed": 4}
    store.put_bytes(storage.place_of(folder / "training.pt"), b"x" * 100)
    with pytest.raises(DamagedFolder, match=r"size or sha256"):
        verify_sealed(folder)
    storage.remove(folder / "checkpoint.json")
    with pytest.raises(DamagedFolder, match=r"no readable checkpoint.json"):
        verify_sealed(folder)


def test_errors_of_a_store_say_what_to_do(bucket, monkeypatch):
    with pytest.raises(storage.StoreRefused, match=r"s3://absent: no such bucket: create it"):
        storage.check_buckets([path_of("s3://absent/x")])
    with pytest.raises(storage.StoreRefused, match=r"s3://absent: no such bucket"):
        storage.write_text(path_of("s3://absent/x"), "x")
    with bucket.out_of_order(), pytest.raises(storage.StoreUnreachable, match="the store does not answer"):
        storage.check_buckets([path_of("s3://sheets/x")])
    with bucket.out_of_order("403 AccessDenied", "PUT"), pytest.raises(storage.StoreRefused, match="the store refuses"):
        storage.write_text(path_of("s3://sheets/readonly"), "x")
    with bucket.out_of_order("301 PermanentRedirect"), pytest.raises(storage.StoreRefused, match="in another region"):
        storage.check_buckets([path_of("s3://sheets/x")])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store.filesystem.cache_clear()
    with pytest.raises(storage.StoreUnreachable, match=r"s3://sheets: the store does not answer .*Could not connect"):
        storage.check_buckets([path_of("s3://sheets/x")])
