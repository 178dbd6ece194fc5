"""Three commands from a download of a portal to shards, on a cluster; the images come from servers on this machine."""

import re
import shutil
from collections import Counter
from pathlib import Path
from zlib import crc32

import pyarrow.parquet as pq
import pytest

from herbray import cli
from herbray.data import catalogue
from herbray.flow.shards.manifest import read_manifest

SEINET = Path(__file__).parents[3].parent / "shared/data/dwca/seinet_pectocarya"


def rewrite(server, text):
    """Lead all addresses of images to the server: those of a host to one of its hosts, one in thirty to nothing."""
    numbers = {}

    def lead(match):
        number = numbers.setdefault(match[0], len(numbers))
        host = server.hosts[crc32(match[1]) % len(server.hosts)]
        kind = "404" if number % 30 == 7 else "to" if number % 10 == 3 else "ok"
        return server.url(f"/{kind}/{number}.jpg", host).encode()

    return re.sub(rb"https?://([^/,\"\s]+)/[^,\"\s]*", lead, text)


@pytest.fixture(params=["a table of our own", pytest.param("a genuine archive of SEINet", marks=pytest.mark.long)])
def download(request, server, tmp_path):
    """A download whose images are on the server."""
    folder = tmp_path / "download"
    if "SEINet" in request.param:
        if not SEINET.is_dir():
            pytest.skip("the shared data are not here")
        shutil.copytree(SEINET, folder)
        (folder / "multimedia.csv").write_bytes(rewrite(server, (folder / "multimedia.csv").read_bytes()))
        lines = (folder / "occurrences.csv").read_bytes().split(b"\n")  # of one species: shards need two genera
        lines[1::2] = [line.replace(b"Pectocarya", b"Cryptantha") for line in lines[1::2]]
        (folder / "occurrences.csv").write_bytes(b"\n".join(lines))
        return folder
    rows = [
        f"urn:x:{n},{'Rubus' if n % 2 else 'Rosa'},Rubus sp{n % 9},K{n % 3},PreservedSpecimen,https://h{n % 5}.org/{n}"
        for n in range(120)
    ]
    head = "occurrenceID,genus,scientificName,institutionCode,basisOfRecord,associatedMedia"
    folder.mkdir()
    (folder / "occurrence.csv").write_bytes(rewrite(server, "\n".join([head, *rows]).encode()))
    return folder / "occurrence.csv"


@pytest.mark.usefixtures("cluster")
def test_catalogue_fetch_shard(server, download, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["pace={rate: 60, concurrency: 2}", "networks=[127.0.0.0/8]", "limits={pause_s: 0.05}", "workers=2"]
    assert cli.run("catalogue", None, ["source.name=darwin_core", f"source.path={download}"]) == 0
    before = catalogue.read_manifest(Path("runs/catalogue"))
    assert cli.run("fetch", None, ["contact=curator@herbarium.net", *settings]) == 0
    assert cli.run("shard", None, ["side=32", "max_quarantined=0.1"]) == 0
    assert catalogue.read_manifest(Path("runs/catalogue")) == before

    table = catalogue.read(Path("runs/catalogue"))
    refused = pq.read_table("runs/images/quarantine.parquet").to_pylist()
    fetched = pq.read_table("runs/images/images.parquet").num_rows
    assert {row["reason"] for row in refused} == {"http-404"}
    assert len(set(table["image"].to_pylist())) == fetched + len(refused)
    shards = read_manifest(Path("runs/shards"))
    assert shards["counts"]["quarantined"] <= len(refused)
    assert shards["counts"]["ok"] + shards["counts"]["quarantined"] + shards["counts"]["skipped"] == len(table)
    assert shards["counts"]["ok"] > 40
    _check_pace(server.log, 60)


def _check_pace(log, rate):
    asked = Counter(host for _, host, _, _ in log)
    for host, count in asked.items():
        times = [when for when, name, _, _ in log if name == host]
        assert count - 1 <= rate * (times[-1] - times[0]) * 1.05, host
