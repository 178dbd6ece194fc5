import json
import os

import pytest

from herbray.model import sealed
from herbray.model.sealed import SEAL, Damaged, opened, seal


def fill(folder):
    (folder / "inner").mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "inner" / "card.json").write_text("{}")


@pytest.fixture
def folder(tmp_path):
    seal(tmp_path / "000000003", fill, {"consumed": 3, "loss": 0.1})
    return tmp_path / "000000003"


def test_what_is_sealed_is_opened(folder):
    assert opened(folder) == {"consumed": 3, "loss": 0.1}
    assert sorted(os.listdir(folder)) == [SEAL, "inner", "weights.bin"]
    assert os.listdir(folder.parent) == ["000000003"]


def flip(path, byte=1000):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


def reseal(folder, change):
    body = json.loads((folder / SEAL).read_text())
    change(body)
    (folder / SEAL).write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda f: flip(f / "weights.bin"), "weights.bin: size or sha256"),
        (lambda f: os.truncate(f / "weights.bin", 5000), "weights.bin: size or sha256"),
        (lambda f: (f / "weights.bin").unlink(), "weights.bin missing"),
        (lambda f: (f / "inner" / "more").write_bytes(b""), "inner/more not of it"),
        (lambda f: os.truncate(f / SEAL, 30), "no readable checkpoint.json"),
        (lambda f: (f / SEAL).unlink(), "no readable checkpoint.json"),
        (lambda f: (f / SEAL).write_text("[" * 100_000), "no readable checkpoint.json"),
        (lambda f: (f / SEAL).write_text("[]"), "no readable checkpoint.json"),
        (lambda f: reseal(f, lambda body: body["note"].update(consumed=4)), "changed since"),
    ],
    ids=["bit", "torn", "missing", "more", "torn seal", "no seal", "deep", "list", "note"],
)
def test_damage_is_noticed(folder, harm, told):
    harm(folder)
    with pytest.raises(Damaged, match=told):
        opened(folder)


def test_a_glance_reads_the_seal_alone(folder):
    flip(folder / "weights.bin")
    assert opened(folder, look=False)["consumed"] == 3


def test_a_write_that_fails_leaves_nothing_and_the_old_one_whole(folder):
    def full(beside):
        fill(beside)
        raise OSError(28, "No space left on device")

    for name in ("000000003", "000000009"):
        with pytest.raises(OSError, match="No space"):
            seal(folder.with_name(name), full, {})
    assert os.listdir(folder.parent) == ["000000003"]
    assert opened(folder)["consumed"] == 3


def test_a_damaged_folder_of_that_name_is_replaced(folder):
    flip(folder / "weights.bin")
    seal(folder, fill, {"consumed": 3})
    assert opened(folder) == {"consumed": 3}
    assert os.listdir(folder.parent) == ["000000003"]


def test_files_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, sealed.Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (happened.append("sync"), sync(handle)))
    monkeypatch.setattr(sealed.Path, "replace", lambda *a: (happened.append("rename"), replace(*a))[1])
    seal(tmp_path / "a", fill, {})
    assert happened == ["sync"] * 5 + ["rename", "sync"]  # two files, the seal, two folders; then the name
