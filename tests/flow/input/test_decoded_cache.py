import shutil
from collections import namedtuple

import pytest

from herbray.data.planning import plan
from herbray.data.planning.plan import Stream
from herbray.flow.input import decoded_cache
from herbray.flow.input.batches import cached_batches, sequential_batches
from herbray.flow.input.decoded_cache import CacheTooLarge, DecodedCache
from herbray.flow.input.window_reader import WindowReader
from herbray.flow.shards.manifest import read_index, read_manifest


@pytest.fixture(scope="module")
def windows(shards):
    index = read_index(shards)
    return plan.plan_epoch(index, plan.list_classes(index), Stream(batch=16, window=6, align=2), 4, 89, 0)


@pytest.fixture
def cache(shards, tmp_path):
    return DecodedCache(shards, tmp_path / "cache", read_manifest(shards)["fingerprint"], 40)


def files_of(windows):
    return sorted({part.file for window in windows for part in window.slices})


def test_batches_from_the_cache_are_those_from_the_jpegs(shards, windows, cache):
    cache.fill(files_of(windows), 1e9, threads=2)
    reader = WindowReader(shards, 40)
    for one, two in zip(
        cached_batches(windows, reader, cache, threads=2), sequential_batches(windows, reader), strict=True
    ):
        assert (one.images == two.images).all()
        assert (one.rows == two.rows).all()
        assert (one.labels == two.labels).all()
        assert (one.seed, one.last) == (two.seed, two.last)
        assert one.images.flags.writeable


def test_finished_files_are_kept_and_half_written_ones_are_decoded_again(windows, cache):
    files = files_of(windows)
    cache.fill(files, 1e9, threads=1)
    made = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.u8")}
    assert len(made) == len(files)
    half = cache.folder / f"{files[0]}.index"
    half.unlink()  # killed between the two renames
    (cache.folder / f"{files[0]}.u8").write_bytes(b"half")
    cache.fill(files, 1e9, threads=1)
    again = {path for path, when in made.items() if path.stat().st_mtime_ns != when}
    assert again == {cache.folder / f"{files[0]}.u8"}
    assert half.exists()
    assert not list(cache.folder.rglob("*.tmp"))


def test_too_small_a_limit_or_disk_is_reported_before_writing(windows, cache, monkeypatch):
    with pytest.raises(CacheTooLarge, match=r"loader\.cache_gb allows 1e-06"):
        cache.fill(files_of(windows), 1e3, threads=1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 10**10, decoded_cache.MARGIN + 1000))
    with pytest.raises(CacheTooLarge, match=r"the disk has 0\.0 GB to spare"):
        cache.fill(files_of(windows), 1e9, threads=1)
    assert not list(cache.folder.rglob("*.u8"))


def test_other_shards_have_another_cache(shards, tmp_path):
    assert DecodedCache(shards, tmp_path, "one", 40).folder != DecodedCache(shards, tmp_path, "two", 40).folder
    assert DecodedCache(shards, tmp_path, "one", 40).folder != DecodedCache(shards, tmp_path, "one", 48).folder
