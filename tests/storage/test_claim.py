"""One job per output in a bucket, on a real S3 server."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from herbray.lock import OutputBusy, lock_output
from herbray.storage import claim, path_of, place_of, store

FOLDER = "s3://sheets/claims"


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(claim, "RENEW_S", 0.3)
    monkeypatch.setattr(claim, "EXPIRY_S", 3.0)
    monkeypatch.setattr(claim, "_POLL_S", 0.1)


def write_claim(out, host, pid):
    """What a job on another machine leaves; returns the place."""
    place = place_of(path_of(out))
    place = place._replace(key=f"{place.key}/.herbray.lock/{host}.json")
    store.put_bytes(place, json.dumps({"verb": "train", "host": host, "pid": pid, "since": 0}).encode())
    return place


def claims_in(folder):
    return [each for each in store.list_objects(place_of(path_of(folder))) if ".herbray.lock" in each.place.key]


@pytest.mark.parametrize("other", [f"{FOLDER}/run", FOLDER, f"{FOLDER}/run/train/a", "s3://sheets"])
def test_a_job_on_the_output_around_it_or_inside_excludes_another(bucket, other):
    with lock_output(path_of(f"{FOLDER}/run"), "shard"):
        with pytest.raises(OutputBusy, match=f"`herbray shard`, pid {os.getpid()} on {socket.gethostname()}"):
            with lock_output(path_of(other), "train"):
                pass
        with lock_output(path_of("s3://sheets/elsewhere"), "train"):
            pass
        assert len(claims_in(FOLDER)) == 1
    assert not claims_in(FOLDER)


def test_the_claim_of_a_job_that_was_killed_expires(bucket):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    write_claim(f"{FOLDER}/killed", socket.gethostname(), int(ended.stdout))
    with lock_output(path_of(f"{FOLDER}/killed"), "train"):  # on this machine: at once
        assert len(claims_in(FOLDER)) == 1
    write_claim(f"{FOLDER}/killed", "elsewhere", 1)
    with lock_output(path_of(f"{FOLDER}/killed"), "train"):  # elsewhere: when it has not been renewed
        assert len(claims_in(FOLDER)) == 1


def test_a_job_that_loses_its_claim_is_stopped(bucket, monkeypatch):
    stopped = []
    monkeypatch.setattr(claim.os, "kill", lambda pid, number: stopped.append(pid))
    with lock_output(path_of(f"{FOLDER}/lost"), "train"):
        end = time.monotonic() + 60
        while not stopped and time.monotonic() < end:  # a renewal under way may write it once more
            for each in claims_in(FOLDER):
                store.delete(each.place)
            time.sleep(0.05)
    assert stopped == [os.getpid()]
