import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from herbray import cli
from herbray.lock import LOCK, OutputBusy, lock_output

HOLD = """
import sys, time
from pathlib import Path
from herbray.lock import lock_output
with lock_output(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other():
    """Starts another process that holds an output, and kills it in the end."""
    started = []

    def start(out, verb="shard"):
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(out), verb], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shards", "results.parquet"])
def test_the_second_job_learns_who_holds_the_output_and_since_when(tmp_path, other, name):
    first = other(tmp_path / name)
    with pytest.raises(OutputBusy) as told, lock_output(tmp_path / name, "embed"):
        pass
    words = str(told.value)
    assert str(tmp_path / name) in words
    assert f"`herbray shard`, pid {first.pid} on {os.uname().nodename}" in words
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", words)
    assert "choose another output" in words


def test_a_killed_job_releases_its_lock(tmp_path, other):
    first = other(tmp_path / "out")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "out" / LOCK).exists()  # the file still exists, but it is not locked
    with lock_output(tmp_path / "out", "shard"):
        assert json.loads((tmp_path / "out" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "out" / LOCK).exists()


def test_a_refused_job_does_not_release_the_lock(tmp_path, other):
    other(tmp_path / "out")
    for _ in range(2):
        with pytest.raises(OutputBusy), lock_output(tmp_path / "out", "shard"):
            pass
    assert (tmp_path / "out" / LOCK).exists()


def test_one_process_does_not_hold_an_output_twice(tmp_path):
    with lock_output(tmp_path / "out", "shard"):
        with pytest.raises(OutputBusy), lock_output(tmp_path / "out", "shard"):
            pass
        assert (tmp_path / "out" / LOCK).exists()


@pytest.mark.parametrize("inner", ["shards", "train/triplet", "report.html", "results.parquet"])
def test_a_job_on_a_folder_and_a_job_inside_it_exclude_each_other(tmp_path, other, inner):
    first = other(tmp_path / "demo", "demo")
    with pytest.raises(OutputBusy, match="herbray demo"), lock_output(tmp_path / "demo" / inner, "shard"):
        pass
    first.kill()
    first.wait()
    other(tmp_path / "demo" / inner, "shard")
    with pytest.raises(OutputBusy, match="herbray shard"), lock_output(tmp_path / "demo", "demo"):
        pass


def test_outputs_side_by_side_do_not_exclude_each_other(tmp_path, other):
    other(tmp_path / "runs" / "shards")
    other(tmp_path / "runs" / "results.parquet")
    with (
        lock_output(tmp_path / "runs" / "train" / "triplet", "train"),
        lock_output(tmp_path / "runs" / "report.html", "report"),
    ):
        pass


def test_two_names_of_one_folder_are_one_output(tmp_path, other):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    other(tmp_path / "link")
    with pytest.raises(OutputBusy), lock_output(tmp_path / "real", "shard"):
        pass


def test_only_the_output_is_left_after_a_job(tmp_path):
    with lock_output(tmp_path / "out", "shard"):
        (tmp_path / "out" / "part").touch()
    with lock_output(tmp_path / "page.html", "report"):
        (tmp_path / "page.html").touch()
    with pytest.raises(KeyError), lock_output(tmp_path / "other" / "shards", "shard"):
        raise KeyError
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "out",
        "out/part",
        "page.html",
    ]


def test_a_damaged_lock_note_is_no_obstacle(tmp_path, other):
    other(tmp_path / "out")
    (tmp_path / "out" / LOCK).write_text('{"verb": "sha')
    with pytest.raises(OutputBusy, match="just started"), lock_output(tmp_path / "out", "shard"):
        pass


def test_an_output_that_cannot_be_written_gives_a_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="choose another output"), lock_output(tmp_path / "file" / "out", "shard"):
        pass


def _contend(out, log, tries):
    for _ in range(tries):
        try:
            with lock_output(Path(out), "shard"):
                with Path(log).open("a") as file:
                    file.write("in\n")
                time.sleep(0.001)
                with Path(log).open("a") as file:
                    file.write("out\n")
        except OutputBusy:
            pass


@pytest.mark.slow
def test_only_one_job_at_a_time_although_the_lock_file_is_removed(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    jobs = [spawn.Process(target=_contend, args=(str(tmp_path / "out"), str(tmp_path / "log"), 40)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
        assert job.exitcode == 0
    lines = (tmp_path / "log").read_text().split()
    assert lines == ["in", "out"] * (len(lines) // 2)
    assert len(lines) >= 80  # the jobs did get the lock


def test_a_verb_is_refused_before_it_does_anything_while_another_job_writes_there(tmp_path, other, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other(tmp_path / "catalogue", "catalogue")
    overrides = ["source.name=synthetic", "source.path=sheets", "source.sheets=8", "out=catalogue"]
    assert cli.run("catalogue", None, overrides) == 1
    assert "is being written by `herbray catalogue`" in capsys.readouterr().err
    assert not (tmp_path / "sheets").exists()


@pytest.mark.slow
@pytest.mark.parametrize("verb", sorted(set(cli.VERBS) - {"doctor", "promote"}))
def test_every_verb_that_writes_is_refused_where_another_job_writes(tmp_path, other, capsys, verb):
    out = tmp_path / {"report": "page.html", "evaluate": "results.parquet"}.get(verb, "out")
    other(out)
    job = next(iter(sorted((Path(__file__).parents[1] / "jobs").glob(f"{verb}*.yaml"))))
    assert cli.run(verb, job, [f"{'run' if verb == 'register' else 'out'}={out}"]) == 1
    assert "is being written by `herbray shard`" in capsys.readouterr().err


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("image,\x1b[2Jgenus,\x1b[2Jgenus\n")
    assert cli.run("catalogue", None, ["source.name=folder", f"source.path={tmp_path}", f"out={tmp_path}/out"]) == 1
    told = capsys.readouterr().err
    assert "more than once" in told
    assert "\x1b" not in told
