import numpy as np
import pyarrow as pa
import pytest

from herbray import config, schema
from herbray.data.plan import order
from herbray.flow import material as module
from herbray.flow.material import Train, material


@pytest.fixture
def index(monkeypatch):
    """A long tail: genera of 1 to 60 bags, in training and in validation."""
    rows = [
        {
            "file": f"split={split}/part-{genus:05d}.parquet",
            "row_group": bag,
            "genus": f"G{genus:02d}",
            "rows": 3 + bag % 4,
        }
        | {"split": split}
        for split in ("train", "validation")
        for genus in range(30)
        for bag in range(1 + 60 // (genus + 1))
    ]
    table = pa.Table.from_pylist(rows, schema=schema.INDEX)
    monkeypatch.setattr(module, "read_index", lambda folder: table)
    monkeypatch.setattr(module, "read_manifest", lambda folder: {"side": 64, "fingerprint": "x", "splits": {}})
    return table


def looked_at(**settings):
    spec = config.parse(Train, {"encoder": {"size": 32}, "epochs": 1, "validate_rows": 300} | settings)
    data = material(spec)
    seen = set()
    for window in [*data.validation, *data.gallery]:
        plan = order(window)
        for part, row in zip(plan.slice.ravel(), plan.row.ravel(), strict=True):
            seen.add((window.slices[part].file, window.slices[part].row_group, int(row)))
    return seen


def test_every_objective_batch_and_seed_looks_at_the_same_validation_specimens(index):
    published = {"name": "triplet", "mining": "published", "group": 2, "rivals": 16}
    all_of_them = looked_at(objective={"name": "classifier"})
    assert 300 <= len(all_of_them) < 310
    for settings in (
        {"objective": {"name": "triplet", "group": 4}},
        {"objective": {"name": "triplet", "group": 8}, "stream": {"batch": 64}},
        {"objective": {"name": "classifier"}, "seed": 7},
        {"objective": published, "stream": {"batch": 48}},
    ):
        assert looked_at(**settings) == all_of_them


def test_what_is_looked_at_is_drawn_from_all_genera(index):
    genera = {file for file, _, _ in looked_at()}
    assert len(genera) > 15
    assert np.ptp([len(genera), 30]) < 15
