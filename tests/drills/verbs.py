"""Drills of the other jobs: embed, evaluate, report and tune are killed and given again."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from drill import Drill, Found, TooLong, ended, kill, nodes, started, until
from small_training import BAG, ground

from herbray import storage, tables
from herbray.flow.shards.manifest import read_manifest

FILES, ROWS, SIDE = 12, 128, 64


def job(folder: Path, verb: str, spec, name: str = "job") -> list[object]:
    """The command of a verb with this specification."""
    from herbray import config

    path = folder / f"{name}.yaml"
    path.write_text(config.dump(spec))
    return ["-m", "herbray.cli", verb, path]


def carried_out(command: list[object], log: Path, env: dict[str, str], seconds: float = 150) -> float:
    """Run a command to its good end; returns when it began."""
    began = time.time()
    if ended(started(command, log, env), seconds, log):
        raise TooLong(log.read_text()[-2000:])
    return began


def killed(
    command: list[object], log: Path, env: dict[str, str], ready: Callable[[], object], seconds: float = 240
) -> float:
    """Start a command and kill its driver as soon as `ready`."""
    process = started(command, log, env)

    def look() -> object:
        if process.poll() is not None:
            raise TooLong(f"it ended before it was killed: {log.read_text()[-2000:]}")
        return ready()

    until(look, seconds, "the moment to kill")
    at = kill(process.pid)
    process.wait()
    return at


def gallery(work: Path) -> Path:
    """Shards of several files in one split."""
    from herbray.benchmark.contests.shards import write_shards

    folder = work / "gallery"
    if not folder.exists():
        write_shards(folder, FILES * ROWS, SIDE, 1)
        whole = pq.ParquetFile(folder / "split=train" / "part-00000.parquet").read()
        (folder / "split=train").rename(folder / "split=random")
        for number in range(FILES):
            part = whole.slice(number * ROWS, ROWS)
            tables.write(folder / "split=random" / f"part-{number:05d}.parquet", part)
        manifest = read_manifest(folder)
        storage.write_note(folder / "manifest.json", manifest | {"splits": {"random": FILES * ROWS}})
    return folder


def embedding(folder: Path, out: str):
    """The embed job of a drill."""
    from herbray.flow.embedding.specification import Embed

    start = {"size": SIDE}
    settings = {"model": "start", "start": start, "splits": ("random",), "actors": 2, "store": folder}
    return Embed(shards=gallery(folder.parent), out=folder / out, **settings)


def parts(folder: Path, out: str) -> dict[str, tuple[int, bytes]]:
    """Finished files of an embed job: when each was written, and its bytes."""
    found = sorted((folder / out).glob("*/split=random/part-*.parquet"))
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in found}


def same_embeddings(folder: Path, out: str) -> tuple[bool, str]:
    """Whether the files equal those of an undisturbed job, byte for byte, and hold each specimen once."""
    wanted, found = (parts(folder, name) for name in ("undisturbed", out))
    equal = {name: data for name, (_, data) in wanted.items()} == {name: data for name, (_, data) in found.items()}
    ids = [i for file in (folder / out).glob("*/split=random/*") for i in pq.read_table(file)[0].to_pylist()]
    once = len(ids) == len(set(ids)) == FILES * ROWS
    words = f"{len(ids):,} of {FILES * ROWS:,} specimens, {'each once' if once else 'NOT each once'}"
    return equal and once, f"{words}; {len(found)} files {'equal byte for byte' if equal else 'DIFFER'}"


def embed_actor(folder: Path) -> Found:
    """One of two actors, while the job goes on."""
    log = folder / "log"
    with nodes(2, 2) as cluster:
        env = {"RAY_ADDRESS": cluster.address}
        carried_out(job(folder, "embed", embedding(folder, "undisturbed"), "undisturbed"), log, env)
        process = started(job(folder, "embed", embedding(folder, "out")), log, env)
        actors = until(lambda: parts(folder, "out") and actors_of(cluster), 120, "an actor at work")
        before = len(parts(folder, "out"))
        at = kill(actors[0].pid)
        until(lambda: len(parts(folder, "out")) > before + 2 or process.poll() is not None, 60, "the next files")
        recovery = time.time() - at
        code = ended(process, 120, log)
    good, result = same_embeddings(folder, "out")
    return Found("an embed actor (SIGKILL)", f"after {before} of {FILES} files", result, good and not code, recovery)


def actors_of(cluster) -> list[psutil.Process]:
    """Processes of embedders on a cluster's nodes."""
    found = []
    for node in cluster.list_all_nodes():
        raylet = node.all_processes["raylet"][0].process.pid
        for process in psutil.Process(raylet).children(recursive=True):
            try:
                if "_Actor" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
    return found


def embed_job(folder: Path) -> Found:
    """The whole job, its own cluster with it; the same command again."""
    log, env = folder / "log", {}
    carried_out(job(folder, "embed", embedding(folder, "undisturbed"), "undisturbed"), log, env)
    command = job(folder, "embed", embedding(folder, "out"))
    killed(command, log, env, lambda: len(parts(folder, "out")) >= 3)
    time.sleep(3)  # the cluster notices that its driver is gone; files on their way come whole or not at all
    before = parts(folder, "out")
    began = carried_out(command, log, env)
    after = parts(folder, "out")
    redone = sum(after[name][0] != when for name, (when, _) in before.items())
    recovery = min(when for name, (when, _) in after.items() if name not in before) / 1e9 - began
    good, result = same_embeddings(folder, "out")
    result = f"{result}; of {len(before)} finished ones {redone} written again"
    when = f"after {len(before)} of {FILES} files; same command again"
    return Found("the whole embed job (SIGKILL)", when, result, good and not redone, recovery, redone)


def embeddings(folder: Path) -> Path:
    """Embeddings of two encoders, as `herbray embed` leaves them."""
    from herbray import schema, storage, tables

    root = folder / "embeddings"
    for model, separation in (("triplet", 3.0), ("autoencoder", 1.5)):
        generator = np.random.default_rng(len(model))
        rows = []
        for number in range(400):
            row = dict.fromkeys(schema.SPECIMEN.names)
            row |= {"specimen_id": f"{number:04d}", "genus": f"Genus{number % 8}", "split": "random", "order": "Ales"}
            row["embedding"] = (separation * np.eye(16)[number % 8] + generator.standard_normal(16)).astype("f4")
            rows.append(row)
        path = root / model / "split=random" / "part-00000.parquet"
        tables.write(path, pa.Table.from_pylist(rows, schema=schema.embedding_schema(16)))
        note = {"name": model, "model": model, "init": "random", "seed": 1, "uri": "", "version": "none", "shards": ""}
        note |= {"encoder": model, "objective": model, "kind": model, "start_kind": "random", "settings": {}}
        storage.write_note(root / model / "manifest.json", note | {"splits": {"random": 400}})
    return root


def evaluate_job(folder: Path) -> Found:
    """The driver of an evaluation, between the first of its files and the last; the same command again."""
    from herbray import config
    from herbray.flow.evaluation.job import Evaluate

    tasks = [
        {"name": "identify", "splits": ["random"], "ranks": ["genus"]},
        {"name": "retrieval", "splits": ["random"], "ranks": ["genus"]},
    ]
    source, log = embeddings(folder), folder / "log"

    def spec(out: str) -> Evaluate:
        tree = {"embeddings": [source], "tasks": tasks, "out": folder / out / "results.parquet", "store": folder}
        return config.parse(Evaluate, tree)

    with nodes(4) as cluster:
        env = {"RAY_ADDRESS": cluster.address}
        carried_out(job(folder, "evaluate", spec("undisturbed"), "undisturbed"), log, env)
        command = job(folder, "evaluate", spec("out"))
        killed(command, log, env, lambda: any((folder / "out").glob("results-outcomes/*")))
        torn = sorted(each.name for each in (folder / "out").glob("*.parquet"))
        began = carried_out(command, log, env)
        recovery = time.time() - began
    names = {"results.parquet", "results-comparisons.parquet"}
    names |= {f"results-outcomes/{each.name}" for each in (folder / "undisturbed" / "results-outcomes").iterdir()}
    equal = all((folder / "out" / n).read_bytes() == (folder / "undisturbed" / n).read_bytes() for n in names)
    result = (
        f"{len(names)} files {'equal byte for byte' if equal else 'DIFFER'}; at the kill there was {torn or 'none'}"
    )
    when = "as its first file appears; same command again"
    return Found("the driver of an evaluation (SIGKILL)", when, result, equal, recovery)


def tune_driver(folder: Path) -> Found:
    """The driver of a sweep, in its second trial; the same command again."""
    from herbray import config
    from herbray.flow.sweep.job import Tune, make_trial_job
    from herbray.flow.sweep.trials import TrialFiles
    from herbray.flow.training.metrics_log import read_metrics

    log, env = folder / "log", {}
    train = {"objective": {"name": "triplet"}, "encoder": {"size": 32}, "epochs": 3, "workers": 1, "reports": 1}
    train |= {"stream": {"batch": 16, "window": 64 // BAG, "align": 2}, "shards": ground(folder.parent)}
    tree = {"train": train, "space": {"objective.margin": [0.1, 0.4, 0.8]}, "searcher": "grid", "concurrent": 1}
    spec = config.parse(Tune, tree | {"halving": None, "out": folder / "sweep", "store": folder})
    ledger = TrialFiles(spec.out, "best")
    command = job(folder, "tune", spec)

    def second_under_way() -> bool:
        trials = ledger.read()
        return 1 in trials and trials[0].status == "finished" and len(ledger.read_metrics(1)) == 1

    at = killed(command, log, env, second_under_way)
    finished = {n: ledger.metrics_path(n).read_bytes() for n, t in ledger.read().items() if t.status == "finished"}
    reports = len(ledger.read_metrics(1))
    time.sleep(3)
    carried_out(command, log, env, 240)
    trials = ledger.read()
    times = [json.loads(line)["time"] for line in ledger.metrics_path(1).read_text().splitlines()]
    recovery = min((t for t in times if t > at + 1), default=at) - at
    again = [n for n, data in finished.items() if ledger.metrics_path(n).read_bytes() != data]
    alone = make_trial_job(spec, 1, trials[1].values).model_copy(update={"workers": 0, "out": folder / "alone"})
    equal = same_scores(alone, read_metrics(ledger.metrics_path(1)))
    runs = runs_of(folder, ledger, len(trials))
    ended_all = [trial.status for trial in trials.values()] == ["finished"] * 3
    good = ended_all and not again and equal and not runs
    result = (
        f"3 trials, {len(again)} of {len(finished)} finished ones run again; the killed one's figures "
        f"{'equal those of an undisturbed fit' if equal else 'DIFFER'}; {runs or 'a run each, no step doubled'}"
    )
    when = f"in its second trial, after {reports} of 3 epochs; same command again"
    return Found("the driver of a sweep (SIGKILL)", when, result, good, recovery)


def same_scores(spec, found: list[dict[str, float]]) -> bool:
    """Whether an undisturbed training, without Ray, tells the same."""
    from herbray.flow.training.job import fit
    from herbray.flow.training.metrics_log import read_metrics

    fit(spec)
    wanted = read_metrics(spec.out / "metrics.jsonl")
    return [row | {"images_per_s": 0} for row in wanted] == [row | {"images_per_s": 0} for row in found]


def runs_of(folder: Path, ledger, trials: int) -> str:
    """What is wrong with the store's account of a sweep; empty if nothing is."""
    from herbray.tracking import tracking_uri
    from herbray.tracking.store import client

    store = client(tracking_uri(folder))
    runs = store.search_runs([each.experiment_id for each in store.search_experiments()])
    if len(runs) != trials + 1:
        return f"{len(runs)} runs, not {trials} and one"
    for number, trial in ledger.read().items():
        steps = [point.step for point in store.get_metric_history(trial.run_id, "val_knn")]
        if steps != [int(row["images"]) for row in ledger.read_metrics(number)]:
            return f"trial {number} has steps {steps}"
    return ""


DRILLS = {
    "embed-actor": Drill(embed_actor, 400),
    "embed": Drill(embed_job, 400),
    "evaluate": Drill(evaluate_job, 400),
    "tune": Drill(tune_driver, 600),
}
