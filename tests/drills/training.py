"""Drills of training: workers, checkpoints, drivers and nodes that die."""

import dataclasses
import json
import shutil
import subprocess
import time
from pathlib import Path

from drill import HERE, Drill, Found, TooLong, ended, join, kill, lines, nodes, started, until
from small_training import prepared, settings

ONE_RUN = "one MLflow run, finished, no step doubled"


def undisturbed(work: Path, world: int, **values) -> Path:
    """The final checkpoint of the same job that nobody disturbs, on ranks without Ray; made once for all drills."""
    from herbray import config

    folder = work / f"undisturbed-{world}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "job.yaml").write_text(config.dump(settings(work, workers=0, **values)))
        (folder / "phases.json").write_text(json.dumps([{"out": str(folder / "out")}]))
        log = folder / "log"
        ranks = [started([HERE / "bare.py", rank, world, folder], log) for rank in range(world)]
        if any([ended(each, 150, log) for each in ranks]):
            raise TooLong(f"the undisturbed run failed: {log.read_text()[-2000:]}")
        (folder / "made").touch()
    return sorted((folder / "out" / "checkpoints").iterdir())[-1]


def equal(one: Path, two: Path) -> bool:
    """Whether two checkpoints hold the same weights, moments and buffers of all ranks, bit for bit."""
    import torch

    a, b = (torch.load(folder / "training.pt", weights_only=True) for folder in (one, two))
    moments = [
        (a["optimizer"]["state"][i][name], b["optimizer"]["state"][i][name])
        for i in a["optimizer"]["state"]
        for name in ("exp_avg", "exp_avg_sq")
    ]
    weights = [(a["learner"][name], b["learner"][name]) for name in a["learner"]]
    ranks = [(a["ranks"][:, :-1], b["ranks"][:, :-1])]  # the last number is a time
    return all(torch.equal(x, y) for x, y in weights + moments + ranks)


def same_curves(one: Path, two: Path) -> bool:
    """Whether two runs told the same figures, each once, times aside."""
    timed = ("images_per_s", "time", "crc32")  # the checksum covers the times
    rows = [[{k: v for k, v in row.items() if k not in timed} for row in lines(each)] for each in (one, two)]
    return rows[0] == rows[1]


def learns(folder: Path) -> bool:
    """Whether each report of a run tells of a loss: without one, there is no gradient that could be lost."""
    return all(row["train_loss"] > 0 for row in lines(folder / "out" / "metrics.jsonl"))


def windows_of(spec) -> dict[int, int]:
    """Place in the plan of the window to which a batch belongs, by the batch's seed."""
    from herbray.data.planning.window import order_rows
    from herbray.flow.training.training_data import read_training_data

    return {int(s): n for n, w in enumerate(read_training_data(spec).windows) for s in order_rows(w).seeds}


def afterwards(folder: Path, spec, killed_at: float) -> tuple[float, int, str]:
    """From the kill to the first step after it; windows that were trained on twice; a window that never was."""
    steps, place = lines(folder / "steps.jsonl"), windows_of(spec)
    before = {step["pid"] for step in steps if step["t"] <= killed_at}
    later = [step for step in steps if step["pid"] not in before]
    early = {place[step["seed"]] for step in steps if step["pid"] in before}
    late = [place[step["seed"]] for step in later]
    a_window = len(place) // len(set(place.values()))
    begun = min(late, default=0)
    wrong = [n for n in range(begun, max(place.values()) + 1) if late.count(n) != a_window]
    told = f"windows {wrong[:3]} not trained on just once after the kill" if wrong else ""
    return min((step["t"] for step in later), default=killed_at) - killed_at, len(early & set(late)), told


def held(folder: Path, process: subprocess.Popen, seconds: float = 180) -> int:
    """The process id of the worker that stands still."""

    def look():
        if process.poll() is not None:
            raise TooLong(f"the job ended before it was held: {(folder / 'log').read_text()[-2000:]}")
        return (folder / "held.json").exists()

    until(look, seconds, "a worker that stands still")
    return json.loads((folder / "held.json").read_text())["pid"]


def compared(folder: Path, spec, killed: str, when: str, world: int, killed_at: float, spoilt: int = 0) -> Found:
    """What a job made that was killed and went on, beside what an undisturbed one made.

    At most one interval is trained on again; `spoilt` windows more where the newest checkpoint was harmed.
    """
    reference = undisturbed(folder.parent, world)
    fitted = Path(json.loads((folder / "fitted.json").read_text())["checkpoint"])
    recovery, redone, told = afterwards(folder, spec, killed_at)
    weights = equal(reference, fitted)
    curves = same_curves(reference.parents[1] / "metrics.jsonl", folder / "out" / "metrics.jsonl")
    result = f"weights {'equal' if weights else 'DIFFER'}, curves {'equal' if curves else 'DIFFER'}"
    result += "" if (learned := learns(folder)) else "; NOTHING LEARNED, so that equality says nothing"
    at_most, runs = spec.checkpoints.windows + spoilt, one_run(folder)
    good = weights and curves and learned and not told and redone <= at_most and runs == ONE_RUN
    return Found(killed, when, "; ".join(filter(None, (result, runs, told))), good, recovery, redone, at_most)


def worker_killed(folder: Path, when: str, hold: dict) -> Found:
    """Two workers on a cluster of two nodes; one is killed where it stands."""
    spec = prepared(folder, hold | {"register": True}, workers=2)
    undisturbed(folder.parent, 2)
    with nodes(2, 2) as cluster:
        job = started([HERE / "job.py", folder], folder / "log", {"RAY_ADDRESS": cluster.address})
        killed_at = kill(held(folder, job))
        if ended(job, 150, folder / "log"):
            return Found("a train worker", when, (folder / "log").read_text()[-300:], False)
    return compared(folder, spec, "a train worker (SIGKILL)", when, 2, killed_at)


def worker_in_mid_epoch(folder: Path) -> Found:
    """Rank 1, in the middle of a window."""
    return worker_killed(folder, "in mid-epoch, in mid-window", {"rank": 1, "batch": 7})


def worker_at_epoch_end(folder: Path) -> Found:
    """Rank 0, after the epoch's last step, while its checkpoint is on the way."""
    from herbray.flow.training.training_data import read_training_data

    data = read_training_data(prepared(folder, {}, workers=2))
    batch = data.per_epoch // 2 * data.windows[0].batches
    return worker_killed(folder, "at an epoch's end, its checkpoint under way", {"rank": 0, "batch": batch})


def worker_in_write(folder: Path) -> Found:
    """Rank 0, when the files of its second checkpoint are written and its seal is not."""
    return worker_killed(folder, "in a checkpoint's write, before its seal", {"rank": 0, "write": 2})


def driver(folder: Path) -> Found:
    """The driver of a job with its MLflow run; the same command again."""
    spec = prepared(folder, {"rank": 1, "batch": 7, "register": True}, workers=2)
    undisturbed(folder.parent, 2)
    log = folder / "log"
    with nodes(2, 2) as cluster:
        env = {"RAY_ADDRESS": cluster.address}
        job = started([HERE / "job.py", folder], log, env)
        held(folder, job)
        killed_at = kill(job.pid)
        job.wait()
        if ended(started([HERE / "job.py", folder], log, env), 200, log):
            return Found("the driver", "in mid-epoch", log.read_text()[-300:], False)
    return compared(folder, spec, "the driver (SIGKILL)", "in mid-epoch; same command again", 2, killed_at)


def one_run(folder: Path) -> str:
    """What is in the store: runs, how they ended, and whether a step was logged twice or is missing."""
    from herbray.tracking import tracking_uri
    from herbray.tracking.store import client

    store = client(tracking_uri(folder))
    runs = store.search_runs([each.experiment_id for each in store.search_experiments()])
    if [run.info.status for run in runs] != ["FINISHED"]:
        return f"MLflow runs {[run.info.status for run in runs]}"
    steps = [point.step for point in store.get_metric_history(runs[0].info.run_id, "images")]
    wanted = [int(row["images"]) for row in lines(folder / "out" / "metrics.jsonl")]
    return ONE_RUN if sorted(steps) == wanted else f"steps {steps}, not {wanted}"


def alone_killed(folder: Path, **values) -> Found:
    """Training without Ray, killed in mid-window."""
    spec = prepared(folder, {"rank": 0, "batch": 15, "register": True}, workers=0, **values)
    undisturbed(folder.parent, 1, **values)
    killed_at = again_after(folder)
    return compared(folder, spec, "a job without Ray (SIGKILL)", "in mid-window; same command again", 1, killed_at)


def bit_flip(folder: Path) -> Found:
    """One bit of the newest checkpoint, between a kill and the same command again."""
    spec = prepared(folder, {"rank": 0, "batch": 23, "register": True}, workers=0)
    undisturbed(folder.parent, 1)

    def flip() -> None:
        newest = sorted((folder / "out" / "checkpoints").glob("*/*/training.pt"))[-1]
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)

    killed_at = again_after(folder, lambda: any(folder.glob("out/checkpoints/*/000000008")), flip)
    what, lost = "the newest checkpoint (one bit)", spec.checkpoints.windows // 2  # the way from the one before to it
    found = compared(folder, spec, what, "after a kill; same command again", 1, killed_at, lost)
    warned = "sha256 is not what was written; the checkpoint before it is used" in (folder / "log").read_text()
    result = f"{found.result}; {'warned, the one before used' if warned else 'NOT NOTICED'}"
    return dataclasses.replace(found, result=result, good=found.good and warned)


def again_after(folder: Path, ready=lambda: True, harm=lambda: None) -> float:
    """Kill the job where it is held, do harm, give the same command again."""
    log = folder / "log"
    job = started([HERE / "job.py", folder], log)
    pid = held(folder, job)
    until(ready, 20, "the checkpoint that is to be harmed")
    killed_at = kill(pid)
    job.wait()
    harm()
    if ended(started([HERE / "job.py", folder], log), 200, log):
        raise TooLong(log.read_text()[-2000:])
    return killed_at


def raylet(folder: Path) -> Found:
    """The second node's raylet, under workers {min: 1, max: 2}: the group shrinks."""
    what, when = "the second node's raylet (SIGKILL)", "in mid-epoch, workers {min: 1, max: 2}"
    hold = {"rank": 1, "batch": 7, "register": True}
    spec = prepared(folder, hold, workers={"min": 1, "max": 2})
    with nodes(1, 1) as cluster:
        job = started([HERE / "job.py", folder], folder / "log", {"RAY_ADDRESS": cluster.address})
        held(folder, job)
        second = next(iter(cluster.worker_nodes))
        killed_at = kill(second.all_processes["raylet"][0].process.pid)
        if ended(job, 200, folder / "log"):
            return Found(what, when, (folder / "log").read_text()[-300:], False)
    recovery, redone, told = afterwards(folder, spec, killed_at)
    attempts = len(lines(folder / "attempts.jsonl"))
    ranks = {step["rank"] for step in lines(folder / "steps.jsonl") if step["t"] >= killed_at + recovery}
    at_most, runs = spec.checkpoints.windows, one_run(folder)
    good = not told and ranks == {0} and attempts == 3 and redone <= at_most and runs == ONE_RUN
    result = f"{told or f'2 workers, then {len(ranks)}; each window of the rest trained on once'}; {runs}"
    return Found(what, when, result, good, recovery, redone, at_most)


def node_joins(folder: Path) -> Found:
    """A node comes while one worker trains under {min: 1, max: 2}: the group grows."""
    what, when = "nothing: a node joins", "in mid-epoch, workers {min: 1, max: 2}"
    spec = prepared(folder, {"pace": 0.4}, workers={"min": 1, "max": 2, "look_s": 5}, epochs=8)
    with nodes(1) as cluster:
        job = started([HERE / "job.py", folder], folder / "log", {"RAY_ADDRESS": cluster.address})
        until(
            lambda: len(lines(folder / "steps.jsonl")) >= 10 or job.poll() is not None, 200, "ten steps of one worker"
        )
        joined = time.time()
        join(cluster, num_cpus=1, object_store_memory=120 * 2**20)
        if ended(job, 200, folder / "log"):
            return Found(what, when, (folder / "log").read_text()[-300:], False)
    steps = lines(folder / "steps.jsonl")
    grown = min((step["t"] for step in steps if step["rank"] == 1), default=None)
    if grown is None:
        return Found(what, when, "the group never grew", False)
    last = max(step["t"] for step in steps if step["pid"] == steps[0]["pid"])
    _, redone, told = afterwards(folder, spec, last)
    at_most = spec.checkpoints.windows
    good = not told and redone <= at_most
    result = told or "1 worker, then 2; each window of the rest trained on once"
    return Found(what, when, result, good, grown - joined, redone, at_most)


DRILLS = {
    "worker": Drill(worker_in_mid_epoch, 400),
    "worker-epoch-end": Drill(worker_at_epoch_end, 300),
    "worker-write": Drill(worker_in_write, 300),
    "driver": Drill(driver, 480),
    "alone": Drill(alone_killed, 300, short=True),
    "raylet": Drill(raylet, 400),
    "node-joins": Drill(node_joins, 500),
    "bit-flip": Drill(bit_flip, 300, short=True),
}
