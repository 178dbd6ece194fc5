"""The training that drills disturb, and its data: drawn pictures with names at two ranks, a teacher's embeddings.

`DRILL_ARCH` and `DRILL_OBJECTIVE` in the environment try another architecture or objective.
"""

import json
import os
from pathlib import Path

NAMES, BAG = 8, 8
"""Labels, and rows of one label that lie together: a window has several labels, without which no objective learns."""

SPEC = {
    "objective": {"name": os.environ.get("DRILL_OBJECTIVE", "triplet")},
    "encoder": {"arch": os.environ.get("DRILL_ARCH", "resnet18"), "size": 32},
    "stream": {"batch": 16, "window": 32 // BAG, "align": 2},
    "epochs": 2,
    "keep": "last",
    "checkpoints": {"seconds": None, "windows": 4, "last": 2},
    "cpus_per_worker": 1,
    "max_failures": 2,
}


def ground(work: Path) -> Path:
    """Shards of drawn pictures with a validation split, made once for all drills of a folder."""
    from herbray.benchmark.contests.shards import write_shards

    folder = work / "shards"
    if not folder.exists():
        write_shards(folder, 32 * 8, 40, 1, genera=NAMES, validation=32 * 4, bag=BAG)
        write_lineage(folder)
    return folder


def write_lineage(folder: Path) -> None:
    """As labels.rank=all has it: the last two names are families of three genera each."""
    import pyarrow as pa

    from herbray import schema, tables

    names = [f"Planta{number:03d}" for number in range(NAMES)]
    genera, families = names[:-2], names[-2:]
    rows = [{"label": name, "family": families[n % 2], "genus": name} for n, name in enumerate(genera)]
    rows += [{"label": name, "family": name} for name in families]
    tables.write(folder / "lineage.parquet", pa.Table.from_pylist(rows, schema=schema.LINEAGE))


def teacher(work: Path) -> Path:
    """Embeddings of an untrained encoder, made once for all drills of a folder."""
    from herbray.flow.embedding.job import embed
    from herbray.flow.embedding.specification import Embed
    from herbray.model.encoder import EncoderSpec

    start = EncoderSpec(arch="mobilenet_v3_small", size=32)
    place = {"shards": ground(work), "out": work / "teacher", "store": work, "actors": 0}
    return embed(Embed(model="start", start=start, seed=7, splits=("train", "validation"), **place))


def settings(work: Path, **values):
    """The job of all drills with other values; a distillation gets its teacher."""
    from herbray import config
    from herbray.flow.training.specification import Train

    tree = SPEC | {"shards": ground(work)} | values
    if tree["objective"]["name"] == "distil":
        tree["objective"] = tree["objective"] | {"teacher": teacher(work)}
    return config.parse(Train, tree)


def prepared(folder: Path, hold: dict, **values):
    """The job of a drill, ready to be started."""
    from herbray import config

    spec = settings(folder.parent, **{"out": folder / "out", "store": folder} | values)
    (folder / "job.yaml").write_text(config.dump(spec))
    (folder / "hold.json").write_text(json.dumps(hold))
    return spec
