"""The local cluster: only its own processes are ended, and its jobs are those of the documentation."""

import importlib
import re
import shlex
import subprocess
import sys
import time

import pytest
from manifests import CLUSTER

from herbray import cli, config

sys.path.insert(0, str(CLUSTER / "local"))
import checks
import processes
import ray_nodes
import rehearsal

import cluster

ROOT = CLUSTER.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def sleepers(tmp_path):
    """A process of the cluster, its child, one of a cluster in a folder below, and a stranger."""
    child = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
    below = tmp_path / "one" / "bare"
    below.mkdir(parents=True)
    ours = [
        processes.start(tmp_path / "one", "child", child, {}),
        processes.start(below, "sleep", ["/bin/sleep", 60], {}),
    ]
    strangers = [
        subprocess.Popen(["/bin/sleep", "60"]),
        processes.start(tmp_path / "one-more", "sleep", ["/bin/sleep", 60], {}),
    ]
    yield tmp_path / "one", ours, strangers
    for process in [*ours, *strangers]:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_all_processes_of_a_cluster_are_ended_and_no_others(sleepers):
    folder, ours, strangers = sleepers
    end = time.monotonic() + 20
    while len(processes.members(folder)) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert cluster.take_down(folder) == 3
    assert all(process.poll() is not None for process in ours)
    assert [process.poll() for process in strangers] == [None, None]
    assert processes.members(folder) == []


def test_a_folder_must_be_new_and_short(tmp_path):
    with pytest.raises(ValueError, match="too long for the sockets of Ray"):
        cluster.make_folder(tmp_path / "a-name-of-many-letters-that-goes-on")
    with pytest.raises(ValueError, match="/tmp: exists already; name a new folder"):
        cluster.make_folder(type(tmp_path)("/tmp"))


def test_the_last_line_is_the_job_s_own(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "2026-11-30 13:39:35,870\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
        "Running entrypoint for job x: python jobs/shard.py\nshard: 3/3 images\n"
        "2026-11-30 13:41:04,455\tSUCC cli.py:67 -- \x1b[32mJob 'x' succeeded\x1b[39m\n"
    )
    assert ray_nodes.last_line(log) == "shard: 3/3 images"
    assert checks.count_rows(checks.Place(str(tmp_path)), "nothing") == 0


def accepted(verb, file, words):
    module, kind, *_ = cli.VERBS[verb]
    return config.load(getattr(importlib.import_module(module), kind), ROOT / file, words)


def test_herbray_accepts_the_settings_of_the_rehearsal():
    accepted("catalogue", "jobs/catalogue.yaml", rehearsal.HERBARIUM)
    accepted("shard", "jobs/shard.yaml", rehearsal.SHARDS)
    assert accepted("train", "jobs/train.yaml", [*rehearsal.TRAINING, *rehearsal.EPOCHS]).most_workers == 2
    accepted("tune", "jobs/tune-triplet.yaml", rehearsal.SWEEP)
    accepted("embed", "jobs/embed.yaml", [rehearsal.SPLITS])
    accepted("evaluate", "jobs/evaluate.yaml", rehearsal.SCORES)


def test_herbray_accepts_every_job_that_a_page_submits():
    found = []
    for page in PAGES:
        for line in re.sub(r"\\\n\s*", " ", page.read_text()).splitlines():
            if "ray job submit" in line and (
                job := re.search(r"-- python jobs/(\w+)\.py (jobs/[\w-]+\.yaml)(.*)", line)
            ):
                verb, file, words = job.groups()
                accepted(verb, file, shlex.split(words.split("#")[0].strip("`")))
                found.append(verb)
    assert {"train", "catalogue"} <= set(found)
