import ipaddress
import itertools
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from web_server import PRIVATE, draw

from herbray import __version__, config, schema, storage
from herbray.data import catalogue
from herbray.data.catalogue import QuarantineLimit
from herbray.data.web.fetched import locate_images
from herbray.data.web.hosts import Conduct, HostImages, fetch_hosts
from herbray.data.web.settings import Limits, Pace
from herbray.data.web.turns import Turns
from herbray.exit_codes import Unreachable
from herbray.flow.fetching.job import Fetch
from herbray.flow.shards.build import Shard, shard


def refused(folder):
    """Kind of each refused address → its reason."""
    rows = pq.read_table(folder / "images/quarantine.parquet").to_pylist()
    assert all(row["stage"] == "fetch" and row["detail"] and row["specimen_id"] for row in rows)
    return {row["image"].split("/")[3]: row["reason"] for row in rows}


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


BAD = {
    **{"404": "http-404", "403": "http-403", "450": "http-450", "500": "http-500"},
    **{"html": "not-an-image", "text": "not-an-image", "slow": "timeout", "endless": "too-large"},
    **{"cut-off": "cut-off", "huge": "too-large", "hang-up": "no-connection"},
    **{"garbage": "malformed", "big-head": "malformed", "odd-redirect": "address"},
    **{"loop": "redirect-loop", "hops": "redirects", "private": "private-address"},
}


@pytest.mark.slow
def test_each_way_to_misbehave_is_refused_by_name_and_nothing_else_is_lost_or_written(server, fetch_all, tmp_path):
    bad = [server.url(f"/{kind}/9.jpg") for kind in (*BAD, "short-length")]
    good = [server.url(f"/ok/{number}.jpg") for number in range(20)]
    manifest = fetch_all(
        [
            *bad,
            *good,
            server.url("/429/1.jpg"),
            server.url("/503/2.jpg"),
            server.url("/hops/3.jpg"),
            server.url("/odd/4.jpg"),
        ]
    )
    assert manifest["counts"] == {"images": 42, "fetched": 24, "quarantined": 18, "skipped": 0}
    found = refused(tmp_path)
    assert found.pop("short-length") in ("truncated", "malformed")  # where the network cuts decides
    assert found == BAD
    table = pq.read_table(tmp_path / "images/images.parquet")
    assert table.schema.equals(schema.FETCHED)
    for row in table.to_pylist():
        number = int(row["image"].rpartition("/")[2].removesuffix(".jpg"))
        content = (tmp_path / "images" / row["file"]).read_bytes()
        assert content == draw(1 if "hops" in row["image"] else number)
        assert (row["bytes"], row["format"], row["width"], row["height"]) == (len(content), "JPEG", 24, 32)
    written = {row["file"] for row in table.to_pylist()}
    others = {"images.parquet", "quarantine.parquet", "manifest.json"}
    there = {name for name in files(tmp_path / "images") if not name.startswith("journal/")}
    assert there == written | others
    assert {name.partition("/")[0] for name in files(tmp_path)} == {"table.csv", "catalogue", "images"}


@pytest.mark.parametrize("target", PRIVATE)
def test_no_request_leaves_for_a_private_address(server, fetch_all, tmp_path, target):
    fetch_all([target, server.url("/ok/1.jpg")])
    assert [*refused(tmp_path).values()] == ["private-address"]


def test_a_name_that_leads_to_a_private_address_is_refused_once_it_is_resolved(server, fetch_all, tmp_path):
    fetch_all([f"http://localhost:{server.port}/ok/1.jpg"], networks=["10.0.0.0/8"])
    assert [*refused(tmp_path).values()] == ["private-address"]
    assert server.log == []


def test_the_contact_is_in_every_request_and_must_be_ones_own(server, fetch_all):
    fetch_all([server.url("/ok/1.jpg")])
    agents = {headers["user-agent"] for *_, headers in server.log}
    assert agents == {f"herbray/{__version__} (+curator@herbarium.net)"}
    for contact in ("you@herbarium.example", "me@example.org", "nobody", "a@b.org\r\nCookie: x"):
        with pytest.raises(ValueError, match="contact"):
            fetch_all(contact=contact)
    with pytest.raises(config.ConfigError, match=r"contact: missing[^\0]*networks: .*10\.0\.0\.1/8 has host bits set"):
        config.parse(Fetch, {"networks": ["10.0.0.1/8"]})


def test_a_second_run_asks_for_nothing_that_it_has_and_a_larger_catalogue_for_the_rest(server, fetch_all):
    fetch_all([server.url(f"/{kind}/1.jpg") for kind in ("ok", "404", "500")])
    before = len(server.log)
    manifest = fetch_all([server.url(f"/{kind}/1.jpg") for kind in ("ok", "404", "500", "hops")])
    assert {path for _, _, path, _ in server.log[before:]} == {
        "/robots.txt",
        "/500/1.jpg",
        "/hops/1.jpg",
        "/hops/0",
        "/ok/1.jpg",
    }
    assert manifest["counts"] == {"images": 4, "fetched": 2, "quarantined": 2, "skipped": 0}
    before = len(server.log)
    fetch_all(retry_refused=True)
    assert "/404/1.jpg" in {path for _, _, path, _ in server.log[before:]}


def test_a_lost_or_shortened_file_is_fetched_again_and_strangers_are_removed(server, fetch_all, tmp_path):
    fetch_all([server.url("/ok/1.jpg"), server.url("/ok/2.jpg")])
    first, second = (
        tmp_path / "images" / row for row in pq.read_table(tmp_path / "images/images.parquet")["file"].to_pylist()
    )
    first.unlink()
    os.truncate(second, 10)
    (first.parent / ".half.tmp").write_bytes(b"x")
    assert fetch_all()["counts"]["fetched"] == 2
    assert {first.read_bytes(), second.read_bytes()} == {draw(1), draw(2)}
    assert not (first.parent / ".half.tmp").exists()


def test_conditional_requests_keep_what_has_not_changed(server, fetch_all, tmp_path):
    fetch_all([server.url("/tagged/77.jpg"), server.url("/changing/2.jpg")])
    old = {row["image"]: row for row in pq.read_table(tmp_path / "images/images.parquet").to_pylist()}
    before = len(server.log)
    fetch_all(check_after_days=0)
    new = {row["image"]: row for row in pq.read_table(tmp_path / "images/images.parquet").to_pylist()}
    tagged, changing = sorted(old, reverse=True)
    assert [headers["if-none-match"] for _, _, path, headers in server.log[before:] if "tagged" in path] == ['"77"']
    assert new[tagged]["file"] == old[tagged]["file"]
    assert new[tagged]["checked_at"] > old[tagged]["checked_at"]
    assert new[tagged]["fetched_at"] == old[tagged]["fetched_at"]
    assert new[changing]["file"] != old[changing]["file"]
    assert not (tmp_path / "images" / old[changing]["file"]).exists()
    server.broken.add("127.0.0.1")
    assert fetch_all(check_after_days=0)["counts"]["fetched"] == 2  # what is there is kept


def test_a_host_that_dies_is_left_alone_and_the_others_go_on(server, fetch_all, tmp_path):
    server.broken.add("127.0.0.2")
    addresses = [server.url(f"/ok/{number}.jpg", host) for host in server.hosts for number in range(30)]
    with pytest.raises(Unreachable, match="run the same command again later"):
        fetch_all(addresses, limits={"failures": 3, "pauses": 2, "pause_s": 0.05}, max_quarantined=0.1)
    asked = [path for _, host, path, _ in server.log if host == "127.0.0.2"]
    assert len(asked) == 5  # three failures, then one after each pause
    rows = pq.read_table(tmp_path / "images/quarantine.parquet").to_pylist()
    assert len(rows) == 30
    assert all("127.0.0.2" in row["image"] for row in rows)
    assert {row["reason"] for row in rows} <= {"host", "robots"}
    server.broken.clear()
    assert fetch_all(max_quarantined=0)["counts"] == {"images": 90, "fetched": 90, "quarantined": 0, "skipped": 0}


def test_a_host_that_asks_to_wait_for_a_day_is_left_for_another_run(server, fetch_all, tmp_path):
    manifest = fetch_all([server.url("/wait/1.jpg"), *(server.url(f"/ok/{number}.jpg") for number in range(40))])
    assert manifest["reasons"] == {"host": manifest["counts"]["quarantined"] - 1, "http-429": 1}
    details = pq.read_table(tmp_path / "images/quarantine.parquet")["detail"].to_pylist()
    assert any("it asks to wait 86,400 s, more than limits.max_wait_s" in detail for detail in details)
    assert len(server.asked("/wait")) == 1


def test_too_many_refusals_end_with_an_error_after_everything_is_written(server, fetch_all, tmp_path):
    with pytest.raises(QuarantineLimit, match=r"1 of 2 images: http-404 1.*quarantine\.parquet"):
        fetch_all([server.url("/404/1.jpg"), server.url("/ok/1.jpg")], max_quarantined=0.1)
    assert storage.read_note(tmp_path / "images/manifest.json", "")["counts"]["fetched"] == 1


def test_robots_are_obeyed_at_every_hop_and_a_site_without_an_answer_is_not_asked(server, fetch_all, tmp_path):
    server.robots = {"127.0.0.1": "User-agent: *\nDisallow: /ok/*3.jpg$", "127.0.0.2": 500, "127.0.0.3": 403}
    server.robots["127.0.0.1"] += "\nCrawl-delay: 0.1"
    addresses = [server.url("/ok/13.jpg"), server.url("/to/3.jpg"), server.url("/ok/1.jpg")]
    addresses += [server.url("/404x/1.jpg", "127.0.0.2"), server.url("/ok/5.jpg", "127.0.0.3")]
    assert fetch_all(addresses)["counts"] == {"images": 5, "fetched": 2, "quarantined": 3, "skipped": 0}
    assert refused(tmp_path) == {"ok": "robots", "to": "robots", "404x": "robots"}
    assert {path for _, _, path, _ in server.log if "robots" not in path} == {"/to/3.jpg", "/ok/1.jpg", "/ok/5.jpg"}
    times = [when for when, host, _, _ in server.log if host == "127.0.0.1"]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.08


def test_no_host_is_asked_more_often_than_its_pace_also_through_redirects(server, fetch_all):
    addresses = [server.url(f"/to/{number}.jpg", host) for number in range(6) for host in server.hosts[:2]]
    fetch_all(addresses, pace={"rate": 20, "concurrency": 3}, hosts={"127.0.0.3": {"rate": 10}})
    for host, rate in (("127.0.0.1", 20), ("127.0.0.2", 20), ("127.0.0.3", 10)):
        times = [when for when, name, _, _ in server.log if name == host]
        assert len(times) >= 5
        assert len(times) - 1 <= rate * (times[-1] - times[0]) * 1.02


def test_iiif_servers_are_asked_for_the_smallest_size_that_serves(server, fetch_all, tmp_path):
    requests = (server.url("/iiif/7/full/max/0/default.jpg"), server.url("/iiif/8/info.json"))
    fetch_all(requests, side=50)
    assert server.asked("/iiif/7") == ["/iiif/7/info.json", "/iiif/7/full/60,80/0/default.jpg"]
    rows = pq.read_table(tmp_path / "images/images.parquet").to_pylist()
    assert {(row["width"], row["height"], row["side"]) for row in rows} == {(60, 80, 50)}
    before = len(server.log)
    fetch_all(side=40)
    assert len(server.log) == before
    fetch_all(side=200)
    assert server.asked("/iiif/8")[-1] == "/iiif/8/full/240,320/0/default.jpg"


def test_one_image_at_many_addresses_is_pointed_out(server, fetch_all, tmp_path):
    addresses = [server.url("/hops/0.jpg"), server.url("/hops/1.jpg"), server.url("/ok/5.jpg")]
    manifest = fetch_all(addresses)
    assert "images that came from more than one address: 1, such as files/" in manifest["notes"][0]
    assert json.loads((tmp_path / "images/manifest.json").read_text())["counts"] == manifest["counts"]


def test_the_shard_job_takes_what_was_fetched_and_says_what_was_not(server, fetch_all, tmp_path):
    fetch_all([server.url("/ok/1.jpg"), server.url("/404/2.jpg"), server.url("/ok/3.jpg")])
    settings = {"catalogue": tmp_path / "catalogue", "out": tmp_path / "shards"}
    with pytest.raises(ValueError, match=r"3 of 3 images are addresses on the web, such as.*run `herbray fetch` first"):
        shard(Shard(**settings, images=tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match=rf"1 of 3 images .* web, and not in {tmp_path}/images, such as .*/404/2.jpg"):
        shard(Shard(**settings, images=tmp_path / "images"))
    images = catalogue.read(tmp_path / "catalogue")["image"]
    first, second, third = locate_images(images, tmp_path / "images").to_pylist()
    assert (Path(first).read_bytes(), second, Path(third).read_bytes()) == (draw(1), images[1].as_py(), draw(3))


def test_a_process_that_takes_over_asks_for_nothing_that_is_settled(server, tmp_path):
    pace, limits = Pace(rate=500, concurrency=2), Limits(attempts=1)
    conduct = Conduct("herbray", pace, {}, limits, 0, (ipaddress.ip_network("127.0.0.0/8"),))
    work = [HostImages("127.0.0.1", tuple(server.url(f"/{kind}/5.jpg") for kind in ("ok", "404", "to")))]
    turns = Turns(pace, {}, limits)
    assert [*fetch_hosts(tmp_path, 0, work, conduct, turns)][-1] == {"127.0.0.1": 3}
    before = len(server.log)
    assert [*fetch_hosts(tmp_path, 0, work, conduct, turns)][-1] == {"127.0.0.1": 3}
    assert len(server.log) == before
