"""The stages that read only labels, each a process: `python -m … STAGE FOLDER`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from herbray import schema
from herbray.data import catalogue
from herbray.data.planning import plan
from herbray.data.planning.shard_plan import plan_shards
from herbray.data.planning.window import order_rows
from herbray.data.splitting.splits import Splits, split

SEED: Final = 89
EPOCHS: Final = 25
SIZES_FILE: Final = "sizes.json"
_BAG, _FILE_ROWS, _GROUP = 32, 2048, 4  # the defaults of `herbray shard`, and the group of the default objective


def make_splits(folder: Path) -> None:
    """Split the catalogue, and write the sizes of its splits."""
    table = catalogue.read(folder / "catalogue")
    splits = split(table, Splits(), SEED)
    pq.write_table(pa.table({"split": splits}), folder / "splits.parquet")
    sizes = {pair["values"]: pair["counts"] for pair in pc.value_counts(splits).to_pylist()}
    (folder / SIZES_FILE).write_text(json.dumps(sizes), encoding="utf-8")


def make_shard_plan(folder: Path) -> None:
    """Plan the shards, and write the index that they would have."""
    table = catalogue.read(folder / "catalogue")
    splits = pq.read_table(folder / "splits.parquet")["split"].combine_chunks()
    files = plan_shards(table["specimen_id"].to_pylist(), table["genus"], splits, _BAG, _FILE_ROWS, SEED)
    columns: dict[str, list[object]] = {name: [] for name in schema.INDEX.names}
    for file in files:
        columns["split"] += [file.split] * len(file.bags)
        columns["file"] += [file.path] * len(file.bags)
        columns["row_group"] += range(len(file.bags))
        columns["label"] += file.labels
        columns["rows"] += map(len, file.bags)
    pq.write_table(pa.table(columns, schema=schema.INDEX), folder / "index.parquet")


def make_epoch_plan(folder: Path) -> None:
    """Plan 25 epochs, and order the rows of all batches of the last."""
    index = pq.read_table(folder / "index.parquet")
    windows = plan.plan_run(index, plan.list_classes(index), plan.Stream(), _GROUP, SEED, EPOCHS)
    for window in windows[-windows.per_epoch :]:
        order_rows(window)


STAGES: Final[dict[str, Callable[[Path], None]]] = {
    "splits": make_splits,
    "shard plan": make_shard_plan,
    "epoch plan": make_epoch_plan,
}

if __name__ == "__main__":
    STAGES[sys.argv[1]](Path(sys.argv[2]))
