"""Drills of the tracking store: it goes away, refuses, is full, or stays away, while a training goes on."""

import itertools
import json
import sys
import time
from pathlib import Path

from drill import HERE, Drill, Found, ended, lines, started, until
from small_training import prepared

sys.path.insert(0, str(HERE.parent))  # the server that the tests use too
from mlflow_server import Server

KINDS = {"away": "(SIGKILL)", "refuse": "(answers 500)", "full": "(its disk full)", "mute": "(SIGSTOP, never answers)"}


def steps_of(server: Server) -> dict[str, list[int]]:
    """Steps of each run in the store, in the order of their time."""
    from herbray.tracking.store import client

    store = client(server.uri)
    runs = store.search_runs([each.experiment_id for each in store.search_experiments()])
    return {run.info.run_id: [p.step for p in store.get_metric_history(run.info.run_id, "images")] for run in runs}


def served(folder: Path) -> Server:
    """A server with a folder of its own, up."""
    (folder / "server").mkdir()
    server = Server(folder / "server")
    server.start()
    return server


def gaps(folder: Path, since: float, end: float) -> float:
    """The longest time between two steps of a span."""
    times = [step["t"] for step in lines(folder / "steps.jsonl") if since <= step["t"] <= end]
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def interrupted(folder: Path, how: str, seconds: float) -> Found:
    """A training whose store is out of order for a while."""
    pace = (seconds + 12) / 32  # 32 steps
    spec = prepared(folder, {"pace": pace, "register": True}, workers=0)
    server, log = served(folder), folder / "log"
    try:
        job = started([HERE / "job.py", folder], log, {"MLFLOW_TRACKING_URI": server.uri})
        until(lambda: any(steps_of(server).values()), 120, "the first figures in the store")
        before = sum(map(len, steps_of(server).values()))
        server.begin(how)
        began = time.time()
        time.sleep(seconds)
        server.end(how)
        back = time.time()
        until(lambda: sum(map(len, steps_of(server).values())) > before, 30, "what waited, in the store")
        recovery = time.time() - back
        code = ended(job, 120, log)
        logged = steps_of(server)
    finally:
        server.kill()
    wanted = [int(row["images"]) for row in lines(spec.out / "metrics.jsonl")]
    longest = gaps(folder, began, back)
    warned = [
        log.read_text().count(words)
        for words in ("the tracking server is unreachable", "the tracking server is reachable again")
    ]
    good = not code and [*logged.values()] == [wanted] and longest < pace + 2 and warned == [1, 1]
    result = (
        f"training went on (a step at most {longest:.1f} s, {pace:.1f} s of them the drill's); {len(wanted)} reports "
        f"{'in order, each once, in one run' if [*logged.values()] == [wanted] else f'EXPECTED, found {logged}'}; "
        f"told {warned[0]} + {warned[1]} times"
    )
    return Found(f"the MLflow server {KINDS[how]}", f"for {seconds:g} s in training", result, good, recovery, 0)


def stays_away(folder: Path) -> Found:
    """The store goes away in training and does not come back before its end; then it does, and `herbray register`."""
    from herbray.tracking.delivery import PATIENCE
    from herbray.tracking.store import client

    what, when = "the MLflow server (SIGKILL)", "in training, until after its end; then `herbray register`"
    spec = prepared(folder, {"pace": 0.2, "register": True}, workers=0)
    server, log, env = served(folder), folder / "log", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    env |= {"MLFLOW_TRACKING_URI": server.uri}
    try:
        job = started([HERE / "job.py", folder], log, env)
        until(lambda: any(steps_of(server).values()), 120, "the first figures in the store")
        server.begin("away")
        code = ended(job, 60 + PATIENCE, log)
        waited = time.time() - lines(folder / "steps.jsonl")[-1]["t"]
        told = json.loads((folder / "refused.json").read_text())
        server.end("away")
        again = [ended(started(["-m", "herbray.cli", "register", spec.out], log, env), 60, log) for _ in range(2)]
        logged = steps_of(server)
        versions = [int(each.version) for each in client(server.uri).search_model_versions("name = 'herbray-triplet'")]
    finally:
        server.kill()
    wanted = [int(row["images"]) for row in lines(spec.out / "metrics.jsonl")]
    clear = code == 1 and told["kind"] == "StoreUnreachable" and f"`herbray register {spec.out}`" in told["told"]
    whole = [*logged.values()] == [wanted] and versions == [1] and again == [0, 0]
    good = clear and whole and waited < PATIENCE + 20
    result = (
        f"{told['kind']} after waiting {waited:.0f} s, encoder safe; registered twice: versions {versions}, reports "
        f"{'in order, each once, in one run' if whole else f'EXPECTED {wanted}, found {logged}'}"
    )
    return Found(what, when, result, good, waited, 0)


def driver_and_store(folder: Path) -> Found:
    """The store refuses and the driver is killed while figures wait; the same command again."""
    what = "the MLflow server (answers 500), then the driver (SIGKILL)"
    spec = prepared(folder, {"pace": 0.3, "register": True}, workers=0)
    server, log = served(folder), folder / "log"
    env = {"MLFLOW_TRACKING_URI": server.uri}
    try:
        job = started([HERE / "job.py", folder], log, env)
        until(lambda: any(steps_of(server).values()), 120, "the first figures in the store")
        server.begin("refuse")
        seen = len(lines(spec.out / "metrics.jsonl"))
        until(lambda: len(lines(spec.out / "metrics.jsonl")) > seen + 1, 60, "figures that wait")
        job.kill()
        job.wait()
        killed_at = time.time()
        server.end("refuse")
        code = ended(started([HERE / "job.py", folder], log, env), 120, log)
        logged = steps_of(server)
    finally:
        server.kill()
    wanted = [int(row["images"]) for row in lines(spec.out / "metrics.jsonl")]
    later = min((step["t"] for step in lines(folder / "steps.jsonl") if step["t"] > killed_at), default=killed_at)
    good = not code and [*logged.values()] == [wanted]
    result = f"{len(wanted)} reports " + ("in order, each once, in one run" if good else f"EXPECTED, found {logged}")
    return Found(what, "while figures waited; same command again", result, good, later - killed_at)


DRILLS = {
    "store-away": Drill(lambda folder: interrupted(folder, "away", 30), 240),
    "store-refuses": Drill(lambda folder: interrupted(folder, "refuse", 8), 210, short=True),
    "store-full": Drill(lambda folder: interrupted(folder, "full", 15), 240),
    "store-mute": Drill(lambda folder: interrupted(folder, "mute", 30), 240),
    "store-stays-away": Drill(stays_away, 240),
    "store-and-driver": Drill(driver_and_store, 240),
}
