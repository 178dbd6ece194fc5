"""The doctor's checks of object stores, on a real S3 server."""

from herbray.flow.doctor import buckets
from herbray.flow.doctor.buckets import check_buckets
from herbray.flow.doctor.machine import check_disk
from herbray.flow.doctor.store import check_mlflow_store
from herbray.storage import path_of, place_of, store


def test_a_bucket_in_order(bucket, tmp_path):
    found = list(check_buckets([path_of("s3://sheets/doctor"), tmp_path, path_of("s3://sheets/doctor")]))
    assert [each.status for each in found] == ["ok"] * 4
    assert [each.check.partition(" ")[0] for each in found] == ["store", "claims", "latency", "clock"]
    assert store.list_objects(place_of(path_of("s3://sheets/doctor"))) == []


def test_a_bucket_that_is_absent_or_silent(bucket):
    (found,) = check_buckets([path_of("s3://absent/x")])
    assert (found.status, found.check) == ("error", "store s3://absent/x")
    assert "no such bucket" in found.found
    with bucket.out_of_order():
        (found,) = check_buckets([path_of("s3://sheets/x")])
    assert "does not answer" in found.found


def test_a_clock_that_is_wrong_by_minutes(bucket, monkeypatch):
    now = buckets.time.time()
    monkeypatch.setattr(buckets.time, "time", lambda: now + 300)
    *_, clock = check_buckets([path_of("s3://sheets/doctor")])
    assert clock.status == "error"
    assert "s from this machine's" in clock.found


def test_the_cache_is_the_disk_of_an_address(bucket, tmp_path):
    (found,) = check_disk([path_of("s3://sheets/a"), path_of("s3://sheets/b")], 0)
    assert found.check == f"disk {tmp_path / 'cache'}"
    (found,) = check_mlflow_store({}, path_of("s3://sheets/a"), 1)
    assert (found.status, found.remedy) == ("error", "set MLFLOW_TRACKING_URI to the address of a tracking server")
