"""Twenty thousand sheets, one in twenty bad in some way, from five hosts; the job is killed twice."""

import collections
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from web_server import WebServer, draw

from herbray import storage

BAD = (
    *("404", "410", "403", "450", "500", "html", "text", "slow", "endless", "cut-off", "short-length", "huge"),
    *("hang-up", "loop", "hops", "private", "garbage", "big-head", "odd-redirect"),
)
PASSING = ("429", "503", "tagged", "odd", "to")
SHEETS, DEAD, RATE, LANES = 20_000, 60, 60, 4


def addresses(server):
    living = server.hosts[:4]
    for number in range(SHEETS - DEAD):
        bad = BAD[number // 20 % len(BAD)] if number % 20 == 11 else None
        good = PASSING[number // 20 % len(PASSING)] if number % 20 == 5 else "ok"
        yield server.url(f"/{bad or good}/{number}.jpg", living[number // 7 % 4])
    for number in range(DEAD):
        yield server.url(f"/ok/{number}.jpg", server.hosts[4])


def wait_for(server, process, count):
    while len(server.log) < count:
        assert process.poll() is None, "the job ended too early"
        time.sleep(0.2)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_twenty_thousand_sheets_and_two_kills(tmp_path, list_images):
    server = WebServer(tuple(f"127.0.0.{number}" for number in range(1, 6)))
    server.broken.add(server.hosts[4])
    asked = list(addresses(server))
    command = [
        sys.executable,
        "-m",
        "herbray.cli",
        "fetch",
        f"catalogue={list_images(asked)}",
        f"out={tmp_path}/images",
    ]
    command += ["contact=curator@herbarium.net", "networks=[127.0.0.0/8]", "workers=0", "max_quarantined=0.1"]
    command += [f"pace={{rate: {RATE}, concurrency: {LANES}}}"]
    command += ["limits={seconds: 4, attempts: 2, pause_s: 0.2, max_mb: 1, failures: 8}"]
    for count in (SHEETS // 5, SHEETS // 2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(server, process, count)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "images/manifest.json").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, done.stderr[-3000:])
    server.close()
    assert done.returncode == 0
    counts = storage.read_note(tmp_path / "images/manifest.json", "")["counts"]
    bad = sum(number % 20 == 11 for number in range(SHEETS - DEAD)) + DEAD
    assert counts == {"images": SHEETS, "fetched": SHEETS - bad, "quarantined": bad, "skipped": 0}
    check_content(tmp_path / "images", asked)
    check_courtesy(server)


def check_content(folder, asked):
    """Every address has one row, in one of the two tables; every file is what its server has."""
    rows = pq.read_table(folder / "images.parquet").to_pylist()
    refused = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert sorted([row["image"] for row in rows] + [row["image"] for row in refused]) == sorted(asked)
    for row in rows:
        number = int(row["image"].rpartition("/")[2].removesuffix(".jpg"))
        assert (folder / row["file"]).read_bytes() == draw(number)
    reasons = collections.defaultdict(collections.Counter)
    for row in refused:
        reasons[row["image"].split("/")[3]][row["reason"]] += 1
    print({kind: dict(found) for kind, found in reasons.items()})
    assert reasons["404"].keys() == {"http-404"}
    assert reasons["private"].keys() == {"private-address"}
    assert set(reasons) == {*BAD, "ok"}


def check_courtesy(server):
    """No host is asked above its pace, and next to nothing is asked for twice because of the kills."""
    for host in server.hosts:
        times = [when for when, name, _, _ in server.log if name == host]
        fastest = max(later - first for first, later in _windows(times))
        print(f"{host}: {len(times):,} requests, at most {fastest} in a second of {RATE} allowed")
        assert fastest <= RATE + LANES
    good = collections.Counter((host, path) for _, host, path, _ in server.log if path.startswith("/ok/"))
    twice = sum(count - 1 for (host, _), count in good.items() if host != server.hosts[4])
    print(f"{twice} of {len(good):,} good images were asked for more than once")
    assert twice <= 2 * 4 * LANES + len(good) * 0.01


def _windows(times):
    """First and last position of the requests in each second that begins with one."""
    last = 0
    for first, when in enumerate(times):
        while last < len(times) and times[last] < when + 1:
            last += 1
        yield first, last
