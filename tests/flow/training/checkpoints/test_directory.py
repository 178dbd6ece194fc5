import logging

import pytest

from herbray.flow.training.checkpoints import directory as store_module
from herbray.flow.training.checkpoints.directory import CheckpointDirectory, CheckpointWriter
from herbray.flow.training.specification import Checkpoints


def fill(folder):
    (folder / "training.pt").write_bytes(b"weights" * 100)


def store_of(root, keep="best", last=2):
    return CheckpointDirectory(root, Checkpoints(last=last), keep)


def names(store):
    return sorted(int(path.name) for path in store.root.iterdir() if path.name.isdigit())


def saved(store, *scores):
    for number, score in enumerate(scores, 1):
        store.save(number, fill, {} if score is None else {"val_knn": score, "images": number})
    return store


def harm(store, number):
    path = store.root / f"{number:09d}" / "training.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_pruning_keeps_the_best_and_the_newest_checkpoints(tmp_path):
    assert names(saved(store_of(tmp_path / "a"), 0.1, 0.5, 0.2, None, 0.3, None)) == [2, 5, 6]
    assert names(saved(store_of(tmp_path / "b", last=1), 0.5, 0.5, 0.1)) == [2, 3]  # of equals the later
    assert names(saved(store_of(tmp_path / "c", keep="last"), 0.5, 0.2, None, None, None)) == [2, 4, 5]
    assert names(saved(store_of(tmp_path / "d", last=4), None, None, None)) == [1, 2, 3]


def test_the_last_within_one_standard_error_of_the_highest_is_chosen(tmp_path):
    def save(folder, *scores, error=0.05):
        store = store_of(tmp_path / folder, last=1)
        for number, score in enumerate(scores, 1):
            store.save(number, fill, {} if score is None else {"val_knn": score, "val_knn_error": error})
        return store.best().consumed, names(store)

    assert save("a", 0.5, 0.6, 0.56, 0.54, None) == (3, [2, 3, 5])  # the highest stays, since it decides
    assert save("b", 0.5, 0.6, 0.56, 0.58) == (4, [2, 4])
    assert save("c", 0.6, 0.56, 0.62, 0.4) == (3, [3, 4])
    assert save("d", 0.6, 0.59, error=0.0) == (1, [1, 2])
    store = store_of(tmp_path / "b")
    harm(store, 4)
    assert store.best().consumed == 2


def test_best_returns_the_checkpoint_that_keep_selects(tmp_path):
    assert saved(store_of(tmp_path / "a"), 0.1, 0.5, 0.2, None).best().consumed == 2
    assert saved(store_of(tmp_path / "b", keep="last"), 0.5, 0.2, None).best().consumed == 2
    assert store_of(tmp_path / "c").best() is None
    assert store_of(tmp_path / "c").newest() is None


def test_without_val_knn_the_lowest_loss_is_the_best(tmp_path):
    def kept(folder, losses, keep="best", **figures):
        store = store_of(tmp_path / folder, keep, last=1)
        for number, loss in enumerate(losses, 1):
            store.save(number, fill, {} if loss is None else {"val_loss": loss, "images": number} | figures)
        return store.best().consumed, names(store)

    assert kept("a", [0.5, 0.2, 0.4, None]) == (2, [2, 4])
    assert kept("b", [0.5, 0.2, 0.2, 0.3]) == (3, [3, 4])  # of equals the later
    assert kept("c", [0.5, 0.2, 0.4], keep="last") == (3, [3])
    assert kept("d", [0.5, 0.2, 0.4], val_knn=0.1) == (3, [3])  # the loss decides nothing beside it


def test_a_damaged_checkpoint_is_reported_and_skipped(tmp_path, caplog):
    store = saved(store_of(tmp_path), 0.5, 0.6, 0.2)
    harm(store, 3)
    with caplog.at_level(logging.WARNING):
        assert store.newest().consumed == 2
    assert "sha256 is not what was written; the checkpoint before it is used" in caplog.text
    assert "from the beginning" not in caplog.text
    harm(store, 2)
    assert store.newest() is None
    assert f"{tmp_path}: none of 2 checkpoints is intact: training starts from the beginning" in caplog.text
    store.save(3, fill, {"val_knn": 0.2})  # made anew in its place
    assert store.newest().consumed == 3


def test_a_damaged_checkpoint_does_not_displace_later_ones(tmp_path):
    store = saved(store_of(tmp_path / "a", last=1), 0.5, None, None)
    harm(store, 3)
    assert store.newest().consumed == 1
    store.save(2, fill, {})
    assert store.newest().consumed == 2
    assert names(store) == [1, 2]
    fresh = saved(store_of(tmp_path / "b", last=2), 0.4, 0.9)
    harm(fresh, 2)
    fresh.save(1, fill, {"val_knn": 0.4})  # the damaged best is further on
    assert names(fresh) == [1]


def test_what_was_passed_over_stays_aside_until_the_run_has_gone_beyond_it(tmp_path):
    store = saved(store_of(tmp_path), 0.5, None, None)
    (tmp_path / "000000002" / "training.pt").unlink()  # perhaps a mount that lags behind
    harm(store, 3)
    store.save(1, fill, {"val_knn": 0.5})
    assert {"passed-over-000000002", "passed-over-000000003"} < {path.name for path in tmp_path.iterdir()}
    store.save(2, fill, {})
    assert (names(store), len(list(tmp_path.glob("passed-over-*")))) == ([1, 2], 1)
    store.save(4, fill, {})
    assert (names(store), list(tmp_path.glob("passed-over-*"))) == ([1, 2, 4], [])


def refuse(store, number):
    """ELOOP: an error of the reading, not of what was written."""
    seal = store.root / f"{number:09d}" / "checkpoint.json"
    seal.unlink()
    seal.symlink_to(seal)


def test_an_unreadable_checkpoint_is_skipped_but_does_not_restart_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(store_module, "_PAUSES_S", (0, 0))
    store = saved(store_of(tmp_path), 0.5, None)
    refuse(store, 2)
    assert store.newest().consumed == 1
    assert "000000002: cannot be read now (Too many levels of symbolic links)" in caplog.text
    store.save(1, fill, {"val_knn": 0.5})  # an unreadable seal does not keep others from being written
    assert (names(store), len(list(tmp_path.glob("passed-over-*")))) == ([1], 1)
    refuse(store, 1)
    with pytest.raises(OSError, match="symbolic links"):
        store.newest()


def test_what_a_killed_writer_left_is_no_checkpoint_and_goes(tmp_path):
    store = saved(store_of(tmp_path), 0.5)
    fill_half = tmp_path / ".000000002.4711"
    fill_half.mkdir()
    fill(fill_half)
    assert store.newest().consumed == 1
    store.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"]


def full(folder):
    fill(folder)
    raise OSError(28, "No space left on device")


def test_a_writer_warns_of_one_on_the_way_and_fails_at_the_last(tmp_path, caplog):
    writer = CheckpointWriter(store_of(tmp_path))
    writer.begin(1, full, {})
    writer.begin(2, fill, {})
    assert "training continues: [Errno 28] No space left" in caplog.text
    writer.close()
    assert writer.directory.newest().consumed == 2
    writer.begin(3, full, {})
    with pytest.raises(OSError, match="No space"):
        writer.close()
    writer.close()


def test_a_writer_raises_what_is_not_the_disks_fault(tmp_path):
    def odd(folder):
        raise ValueError("the encoder holds NaN")

    writer = CheckpointWriter(store_of(tmp_path))
    writer.begin(1, odd, {})
    with pytest.raises(ValueError, match="NaN"):
        writer.begin(2, fill, {})
