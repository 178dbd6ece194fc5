"""A training job that can be held at a moment, so that a drill kills it just there.

    python job.py FOLDER

FOLDER holds `job.yaml` (a Train) and `hold.json`:
    {"rank": 1, "batch": 9}                      stand still before the rank's tenth batch
    {"rank": 0, "write": 3}                      stand still in the third checkpoint that is written, before its seal
    {"rank": 0, "memory": 500000000}             allow the worker so many bytes more
    {"rank": 0, "dies": 6}                       be killed before the rank's seventh batch, at every try
    {"pace": 0.2}                                take so many seconds a batch, in addition
    {"register": true}                           the whole job with its MLflow run, not the fit alone
Each thing but `dies` is done once: a worker that has taken the place of a killed one goes on. Every finished step is
a line of `steps.jsonl`; a worker that stands still writes its process id into `held.json`.
"""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path


def wait_to_be_killed(folder):
    try:
        (folder / "held").mkdir()  # once, whoever comes first
    except FileExistsError:
        return
    temporary = folder / f".held.{os.getpid()}"
    temporary.write_text(json.dumps({"pid": os.getpid()}))
    temporary.replace(folder / "held.json")
    for _ in range(600):
        if (folder / "go").exists():
            return
        time.sleep(0.1)
    os._exit(9)  # nobody came: a drill that is broken must not hang


def hold_in_write(folder, number):
    from herbray.model import sealed_folder

    digest, seen = sealed_folder._measure_file, []

    def measured(path, sync=False):
        if sync and path.name == "training.pt":
            seen.append(path)
            if len(seen) == number:
                wait_to_be_killed(folder)
        return digest(path, sync)

    sealed_folder._measure_file = measured


def die_at(folder, here, batch):
    """Wherever a try begins, the same batch is the last."""
    note = folder / "dies.json"
    if here and not note.exists():
        note.write_text(json.dumps(batch.seed))
    if note.exists() and json.loads(note.read_text()) == batch.seed:
        os.kill(os.getpid(), signal.SIGKILL)


def limit_memory(more):
    import resource

    now = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))


def around(folder):
    """What stands between the stream and the steps of each rank."""

    def through(rank, batches):
        plan = json.loads((folder / "hold.json").read_text())
        mine = rank == plan.get("rank")
        if mine and "write" in plan:
            hold_in_write(folder, plan["write"])
        if mine and "memory" in plan:
            limit_memory(plan["memory"])
        with (folder / "attempts.jsonl").open("a") as file:
            file.write(json.dumps({"rank": rank, "pid": os.getpid()}) + "\n")
        for number, batch in enumerate(batches):
            if mine and number == plan.get("batch"):
                wait_to_be_killed(folder)
            if mine and "dies" in plan:
                die_at(folder, number == plan["dies"], batch)
            time.sleep(plan.get("pace", 0))
            yield batch
            done = {"t": time.time(), "rank": rank, "pid": os.getpid(), "seed": batch.seed}
            with (folder / "steps.jsonl").open("a") as file:
                file.write(json.dumps(done) + "\n")

    return through


def main(folder):
    from herbray import config
    from herbray.flow.training import job as module
    from herbray.flow.training.specification import Train

    spec = config.load(Train, folder / "job.yaml")
    between, fit, feed = around(folder), module.fit_prepared, module.load_batches
    module.fit_prepared = lambda job, callbacks=(): fit(job, callbacks, between)
    module.load_batches = lambda windows, reader, **settings: between(0, feed(windows, reader, **settings))
    register = json.loads((folder / "hold.json").read_text()).get("register")
    try:
        fitted = module.train(spec).fitted if register else module.fit(spec)
    except Exception as error:
        (folder / "refused.json").write_text(json.dumps({"kind": type(error).__name__, "told": str(error)}))
        raise
    (folder / "fitted.json").write_text(json.dumps({"checkpoint": str(fitted.checkpoint)}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
