"""The drill of a study: its driver is killed between two cells of the grid, and the same command given again."""

import time
from pathlib import Path

import pyarrow.parquet as pq
from drill import Drill, Found, nodes
from verbs import carried_out, job, killed

SOURCE = {"name": "synthetic", "sheets": 240, "size": 48, "genera": 8, "species": 24}
TRAIN = {"encoder": {"size": 32}, "stream": {"batch": 16}, "epochs": 1, "reports": 1, "workers": 0}
CELLS = 4  # two encoders that are trained, two seeds of start weights as they are


def study_of(folder: Path, out: str):
    """A small study of two trainings."""
    from herbray import config
    from herbray.flow.study.specification import Study

    tree = {
        "out": folder / out,
        "catalogue": {"source": SOURCE | {"path": folder / "sheets"}},  # both studies read the same
        "shard": {"side": 40, "bag": 8, "file_rows": 64, "splits": {"species": 0, "random": 0.35, "validation": 0.2}},
        "train": [TRAIN],
        "seeds": [1, 2],
        "embed": {"splits": ["random"], "actors": 0},
        "evaluate": {"tasks": [{"name": "identify", "splits": ["random"]}], "bootstrap": {"resamples": 100}},
        "report": {"projection": "pca", "sheets": 4},
    }
    return config.parse(Study, tree)


def made(folder: Path) -> dict[Path, int]:
    """When each file of embeddings and each checkpoint of a training was written."""
    found = [*folder.glob("embeddings/*/split=*/part-*"), *folder.glob("train/*/checkpoints/*/*/training.pt")]
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in found}


def runs_of(folder: Path) -> list[str]:
    """How each run of the study's store ended."""
    from herbray.tracking import tracking_uri
    from herbray.tracking.store import client

    store = client(tracking_uri(folder))
    return [run.info.status for run in store.search_runs([each.experiment_id for each in store.search_experiments()])]


def study_driver(folder: Path) -> Found:
    """The driver, when the first training is over and embedded and the second is not; one CPU: cell after cell."""
    log, out = folder / "log", folder / "out"
    with nodes(2) as cluster:
        undisturbed = job(folder, "study", study_of(folder, "undisturbed"), "undisturbed")
        carried_out(undisturbed, log, {"RAY_ADDRESS": cluster.address}, 300)
    with nodes(1) as cluster:
        env, command = {"RAY_ADDRESS": cluster.address}, job(folder, "study", study_of(folder, "out"))
        killed(command, log, env, lambda: any(out.glob("embeddings/herbray-triplet-v*/manifest.json")), 240)
        time.sleep(3)  # the cluster notices that its driver is gone
        before, whole = made(out), len([*out.glob("embeddings/*/manifest.json")])
        began = carried_out(command, log, env, 300)
    after = made(out)
    again = [path for path, when in before.items() if after.get(path) != when]
    new = [when for path, when in after.items() if path not in before]
    tables = [pq.read_table(folder / name / "results.parquet") for name in ("undisturbed", "out")]
    runs = [runs_of(folder / name) for name in ("undisturbed", "out")]
    equal, alike = tables[0] == tables[1], runs[0] == runs[1] and set(runs[1]) == {"FINISHED"}
    told = "one a training, finished" if alike else f"NOT as {runs[0]}: {runs[1]}"
    result = (
        f"{tables[1].num_rows} results {'equal' if equal else 'DIFFER'}; {len(again)} of {len(before)} files of the "
        f"{whole} finished encoders made again; {len(runs[1])} MLflow runs, {told}"
    )
    when = f"after {whole} of {CELLS} encoders; same command again"
    good = equal and alike and not again and whole < CELLS
    return Found("the driver of a study (SIGKILL)", when, result, good, min(new) / 1e9 - began, len(again), 0)


DRILLS = {"study": Drill(study_driver, 480)}
