import json
import os

import pytest

from herbray.model import sealed_folder
from herbray.model.sealed_folder import SEAL_FILE, DamagedFolder, verify_sealed, write_sealed


def fill(folder):
    (folder / "inner").mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "inner" / "card.json").write_text("{}")


@pytest.fixture
def folder(tmp_path):
    write_sealed(tmp_path / "000000003", fill, {"consumed": 3, "loss": 0.1})
    return tmp_path / "000000003"


def test_what_is_sealed_is_opened(folder):
    assert verify_sealed(folder) == {"consumed": 3, "loss": 0.1}
    assert sorted(os.listdir(folder)) == [SEAL_FILE, "inner", "weights.bin"]
    assert os.listdir(folder.parent) == ["000000003"]


def flip(path, byte=1000):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


def reseal(folder, change):
    body = json.loads((folder / SEAL_FILE).read_text())
    change(body)
    (folder / SEAL_FILE).write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda f: flip(f / "weights.bin"), "weights.bin: size or sha256"),
        (lambda f: os.truncate(f / "weights.bin", 5000), "weights.bin: size or sha256"),
        (lambda f: (f / "weights.bin").unlink(), "weights.bin missing"),
        (lambda f: (f / "inner" / "more").write_bytes(b""), "inner/more not in the seal"),
        (lambda f: os.truncate(f / SEAL_FILE, 30), "no readable checkpoint.json"),
        (lambda f: (f / SEAL_FILE).unlink(), "no readable checkpoint.json"),
        (lambda f: (f / SEAL_FILE).write_text("[" * 100_000), "no readable checkpoint.json"),
        (lambda f: (f / SEAL_FILE).write_text("[]"), "no readable checkpoint.json"),
        (lambda f: reseal(f, lambda body: body["note"].update(consumed=4)), "changed since"),
    ],
    ids=["bit", "torn", "missing", "more", "torn seal", "no seal", "deep", "list", "note"],
)
def test_damage_is_noticed(folder, harm, told):
    harm(folder)
    with pytest.raises(DamagedFolder, match=told):
        verify_sealed(folder)


def test_a_glance_reads_the_seal_alone(folder):
    flip(folder / "weights.bin")
    assert verify_sealed(folder, read_files=False)["consumed"] == 3


def test_a_write_that_fails_leaves_nothing_and_the_old_one_whole(folder):
    def full(beside):
        fill(beside)
        raise OSError(28, "No space left on device")

    for name in ("000000003", "000000009"):
        with pytest.raises(OSError, match="No space"):
            write_sealed(folder.with_name(name), full, {})
    assert os.listdir(folder.parent) == ["000000003"]
    assert verify_sealed(folder)["consumed"] == 3


def test_a_damaged_folder_of_that_name_is_replaced(folder):
    flip(folder / "weights.bin")
    write_sealed(folder, fill, {"consumed": 3})
    assert verify_sealed(folder) == {"consumed": 3}
    assert os.listdir(folder.parent) == ["000000003"]


def test_files_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, sealed_folder.Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (happened.append("sync"), sync(handle)))
    monkeypatch.setattr(sealed_folder.Path, "replace", lambda *a: (happened.append("rename"), replace(*a))[1])
    write_sealed(tmp_path / "a", fill, {})
    assert happened == ["sync"] * 5 + ["rename", "sync"]  # two files, the seal, two folders; then the name
