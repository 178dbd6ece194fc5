"""Drills of what ends or is bad from the start: disk, memory, images; and of faults that come again and again."""

import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
from drill import HERE, Drill, Found, ended, lines, nodes, started
from small_training import BAG, prepared
from training import equal, undisturbed


def refused(folder: Path, seconds: float, env: dict[str, str]) -> tuple[dict[str, str], float]:
    """The error of a job that cannot succeed, and after how long it came."""
    began = time.time()
    code = ended(started([HERE / "job.py", folder], folder / "log", env), seconds, folder / "log")
    told = json.loads((folder / "refused.json").read_text()) if code else {"kind": "NO ERROR", "told": ""}
    return told, time.time() - began


def disk_full(folder: Path) -> Found:
    """The run's folder lies on a small disk; then there is room, and the same command again."""
    disk, log = folder / "disk", folder / "log"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=210m", "tmpfs", disk], check=True)
    try:
        prepared(folder, {}, workers=1, out=disk / "out")
        reference = undisturbed(folder.parent, 1)
        with nodes(3) as cluster:
            env = {"RAY_ADDRESS": cluster.address}
            told, seconds = refused(folder, 120, env)
            attempts = len(lines(folder / "attempts.jsonl"))
            subprocess.run(["mount", "-o", "remount,size=2g", disk], check=True)
            again = ended(started([HERE / "job.py", folder], log, env), 120, log)
        fitted = json.loads((folder / "fitted.json").read_text()) if not again else {}
        weights = not again and equal(reference, Path(fitted["checkpoint"]))
    finally:
        subprocess.run(["umount", disk], check=False)
    clear = told["kind"] == "OSError" and "run the same command again" in told["told"]
    result = f"{told['kind']} after {attempts} attempt; with room, weights {'equal' if weights else 'DIFFER'}"
    good = clear and attempts == 1 and weights
    return Found("the disk of the run (full)", "at a checkpoint; then more room, same command", result, good, seconds)


def memory(folder: Path) -> Found:
    """A batch that the worker's memory does not hold."""
    stream = {"batch": 4096, "window": 256 // BAG, "align": 1}
    prepared(folder, {"rank": 0, "memory": 10**9}, workers=1, stream=stream)
    with nodes(3) as cluster:
        told, seconds = refused(folder, 120, {"RAY_ADDRESS": cluster.address})
    attempts = len(lines(folder / "attempts.jsonl"))
    good = told["kind"] == "MemoryError" and "lower stream.batch (4096)" in told["told"] and attempts == 1
    result = f"{told['kind']}: {told['told'][:73]}; {attempts} attempt"
    return Found("a worker's memory (batch of 4096)", "at the first step", result, good, seconds)


def bad_images(folder: Path) -> Found:
    """One file in twenty is no image, cut short, or empty."""
    from herbray.data import catalogue
    from herbray.data.catalogue import Catalogue
    from herbray.data.sources.synthetic import Synthetic
    from herbray.data.splitting.splits import Splits, split
    from herbray.flow.shards.build import Shard, shard
    from herbray.flow.shards.manifest import read_index

    source = Synthetic(path=folder / "sheets", sheets=400, size=48, genera=8, species=24)
    catalogue.build(Catalogue(source=source, out=folder / "catalogue"))
    pictures = sorted(folder.glob("sheets/**/*.jpg"))
    bad = pictures[::20]
    for number, path in enumerate(bad):
        data = path.read_bytes()
        path.write_bytes((b"", data[: len(data) // 2], b"no image" * 50)[number % 3])
    splits = Splits(species=0.1, random=0.2, validation=0.25)
    sizes = {"side": 40, "bag": 8, "file_rows": 64}
    out = folder / "out"
    began = time.time()
    with nodes(2, 2) as cluster:
        os.environ["RAY_ADDRESS"] = cluster.address
        job = Shard(catalogue=folder / "catalogue", out=out, splits=splits, max_quarantined=0.2, **sizes)
        made = shard(job)["counts"]
    refused = pq.read_table(out / "quarantine.parquet")["image"].to_pylist()
    names = catalogue.read(folder / "catalogue")
    sides = split(names, splits, job.seed).to_pylist()
    used = {image for image, side in zip(names["image"].to_pylist(), sides, strict=True) if side != "unused"}
    spoilt = {image for image in used if Path(image).resolve() in {path.resolve() for path in bad}}
    rows = sum(bag["rows"] for bag in read_index(out).to_pylist())
    adds = made["input"] == made["ok"] + made["quarantined"] + made["skipped"]
    good = adds and rows == made["ok"] and len(spoilt) > 0 and sorted(refused) == sorted(spoilt)
    result = f"{made['input']} in = {made['ok']} ok + {made['quarantined']} quarantined + {made['skipped']} not used"
    what = f"{len(bad)} of {len(pictures)} images (empty, cut, no image)"
    return Found(what, "before `herbray shard`", result, good, time.time() - began)


def dies_again(folder: Path) -> Found:
    """A worker that dies at the same window at every try."""
    spec = prepared(folder, {"rank": 0, "dies": 6}, workers=1, max_failures=1)
    with nodes(3) as cluster:
        told, seconds = refused(folder, 240, {"RAY_ADDRESS": cluster.address})
    attempts = len(lines(folder / "attempts.jsonl"))
    clear = told["kind"] == "RepeatedFailure" and "2 times in a row" in told["told"] and str(spec.out) in told["told"]
    result = f"{told['kind']}: {told['told'].partition(': ')[2][:110]}; {attempts} attempts"
    what = "a train worker (SIGKILL, at every try)"
    return Found(what, "at the same batch, max_failures: 1", result, clear and attempts == 2, seconds)


DRILLS = {
    "disk-full": Drill(disk_full, 400),
    "memory": Drill(memory, 240),
    "dies-again": Drill(dies_again, 400),
    "bad-images": Drill(bad_images, 240),
}
