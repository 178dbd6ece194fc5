import errno
import os
import subprocess

import pytest

from herbray import cli
from herbray.disk import describe_disk_error, find_disk_error
from herbray.flow.embedding.encoder_source import start_card
from herbray.flow.embedding.specification import Embed
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import save_encoder
from herbray.storage import files


def write():
    """`/dev/full` behaves like a full disk."""
    with open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")


def complaint_of(act):
    with pytest.raises(Exception, match="No space") as raised:
        act()
    return find_disk_error(raised.value)


def test_a_full_disk_is_found_behind_a_tasks_exception(cluster):
    task = cluster.remote(write)
    complaints = [complaint_of(write), complaint_of(lambda: cluster.get(task.remote()))]
    assert [each.errno for each in complaints] == [errno.ENOSPC] * 2


def test_other_errors_are_not_a_full_disk():
    assert find_disk_error(FileNotFoundError(2, "No such file")) is None
    assert find_disk_error(RuntimeError("no space")) is None
    loop = RuntimeError("x")
    loop.__cause__ = loop
    assert find_disk_error(loop) is None


def test_the_message_says_where_how_much_is_free_and_what_to_do(tmp_path):
    text = describe_disk_error(OSError(28, "No space left on device"), tmp_path / "not" / "there")
    assert text.startswith(f"{tmp_path / 'not' / 'there'}: cannot be written (No space left on device); ")
    assert "MB are free there now; free up space or choose another folder, then run the same command again" in text
    named = describe_disk_error(OSError(28, "make room and give the same command again", "/dev/full"), tmp_path)
    assert named.startswith("/dev/full: ")
    assert named.count("same command") == 1


def test_a_job_on_a_full_disk_ends_in_one_clear_line(cluster, shards, herbarium, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "ab")  # the temporary name is known
    (out / f".quarantine.parquet.{os.getpid()}-ab.tmp").symlink_to("/dev/full")  # the link is removed after the failure
    words = [f"catalogue={herbarium}", f"out={out}", "splits.species=0.1", "splits.random=0.2", "side=40", "bag=8"]
    assert cli.run("shard", None, words) == 1
    error = capsys.readouterr().err
    assert f"herbray shard: {out}: cannot be written (" in error
    assert "Traceback" not in error
    assert cli.run("shard", None, words) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 100 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_task_and_an_actor_that_fill_the_disk_of_their_node(cluster, shards, herbarium, small_disk, tmp_path, capsys):
    words = [f"catalogue={herbarium}", f"out={small_disk}/s", "splits.species=0.1", "splits.random=0.2", "side=40"]
    assert cli.run("shard", None, words) == 1
    start = EncoderSpec(size=32)
    encoder = build_encoder(start, 1, None)
    save_encoder(tmp_path / "encoder", encoder, start_card(start, Embed().seed, encoder))
    places = [f"model={tmp_path}/encoder", f"shards={shards}", f"out={small_disk}/e"]
    words = [*places, "splits=[train,random]", "actors=1"]
    assert cli.run("embed", None, words) == 1
    error = capsys.readouterr().err
    for verb, folder in ("shard", "s"), ("embed", "e"):
        assert f"herbray {verb}: {small_disk}/{folder}: cannot be written (" in error
    assert error.count("of 0 MB are free there now; free up space") == 2
    assert "Traceback" not in error
