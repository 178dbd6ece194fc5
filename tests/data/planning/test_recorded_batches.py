"""The batches of a run are those that earlier versions made: a run resumes under a later version of herbray."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from herbray import schema
from herbray.data.planning import plan
from herbray.data.planning.herbaria import COLUMN
from herbray.data.planning.plan import Stream
from herbray.data.planning.window import order_rows
from herbray.flow.input.batches import windows_of_rank
from herbray.flow.input.window_reader import row_ids

EPOCHS = 4
EVEN = {"batch": 24, "window": 10, "align": 4}

RECORDED = {
    "plain": ({"batch": 16, "window": 6}, 4, 0, "43c9905c5faac000"),
    "one row a group": ({"batch": 16, "window": 6}, 1, 0, "35054debb8e810af"),
    "balanced labels": ({**EVEN, "balance": 0.7}, 4, 0, "0002965ea666e8a9"),
    "balanced herbaria": ({**EVEN, "herbaria": 1.0}, 4, 0, "c73d70a2eb7810da"),
    "both balanced": ({**EVEN, "balance": 1.0, "herbaria": 0.5}, 2, 0, "fa0d301b907d1645"),
    "rivals": ({"batch": 32, "window": 30, "align": 1}, 2, 8, "8c551bfceb5b56ba"),
    "rivals, balanced": ({**EVEN, "balance": 0.5}, 2, 4, "159bea5c818ae0c4"),
    "a window larger than the epoch": ({"batch": 64, "window": 500, "align": 3}, 4, 0, "1189e6f42077d548"),
}
"""Name → settings of the stream, group, rivals, and the SHA-256 of what the version of November 2026 made."""


def long_tail():
    """An index of 90 bags of 30 labels, shuffled, with the herbaria of their rows, and a validation split."""
    rng = np.random.default_rng(20261130)
    bags = []
    for label in range(30):
        for size in [32] * (label % 4) + [1 + label * label % 32]:
            bags.append((f"Genus{label:02d}", size))
    rows = []
    for number, place in enumerate(rng.permutation(len(bags)).tolist()):
        label, size = bags[place]
        split = "validation" if number % 9 == 8 else "train"
        file = f"split={split}/part-{number // 7:05d}.parquet"
        herbaria = np.minimum(rng.geometric(0.5, size) - 1, 3).tolist()
        rows.append(
            {"split": split, "file": file, "row_group": number % 7, "label": label, "rows": size, COLUMN: herbaria}
        )
    kept = schema.INDEX.append(pa.field(COLUMN, pa.list_(pa.int32())))
    return pa.Table.from_pylist(rows, schema=kept).take(pa.array(rng.permutation(len(rows))))


def fingerprint(windows):
    """Everything of the batches that does not depend on a decoder: rows, labels, squares, seeds and ends."""
    found = hashlib.sha256()
    for window in windows:
        order = order_rows(window)
        labels = np.array([part.label for part in window.slices], np.int64)
        first = np.cumsum([0, *(part.rows for part in window.slices)])
        rows = row_ids(window)[first[order.slice] + order.row]
        places = [f"{part.file}/{part.row_group}" for part in window.slices]
        found.update("\n".join(places).encode())
        for array in (rows, labels[order.slice], order.offset, order.seeds):
            found.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("name", RECORDED)
def test_batches_are_those_of_earlier_versions(name):
    settings, group, rivals, recorded = RECORDED[name]
    index = long_tail()
    classes, spec = plan.list_classes(index), Stream(**settings)
    run = plan.plan_run(index, classes, spec, group, 89, EPOCHS, rivals)
    shares = {"alone": run, "resumed": windows_of_rank(run, 0, 1, len(run) // 2 + 1)}
    shares |= {f"rank {rank} of 2, resumed": windows_of_rank(run, rank, 2, 3) for rank in range(2)}
    shares["validation"] = plan.plan_epoch(index, classes, spec, group, 7, 1, "validation", rivals)
    assert hashlib.sha256("".join(map(fingerprint, shares.values())).encode()).hexdigest()[:16] == recorded
