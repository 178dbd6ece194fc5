"""The validation sample of a job."""

from collections import Counter

import pytest

from herbray import config
from herbray.data.planning.window import order_rows
from herbray.flow.shards.specimens import read_specimen_columns
from herbray.flow.training import training_data as module
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data

SPLITS = ("train", "validation")


def spec_of(shards, **values):
    tree = {
        "shards": shards,
        "encoder": {"arch": "mobilenet_v3_small", "size": 32},
        "epochs": 1,
        "stream": {"batch": 16},
    }
    return config.parse(Train, tree | values)


def ids(shards, **values):
    return (
        read_training_data(spec_of(shards, validate_rows=50, **values)).validation.specimens["specimen_id"].to_pylist()
    )


def test_every_objective_batch_and_seed_looks_at_the_same_specimens(small_shards):
    published = {"name": "triplet", "mining": "published", "group": 2, "rivals": 8}
    seen = ids(small_shards, objective={"name": "triplet"})
    assert len(seen) == 50
    assert ids(small_shards, objective=published, stream={"batch": 32}) == seen
    assert ids(small_shards, objective={"name": "classifier"}, seed=7) == seen


def test_shards_with_bags_of_another_size_are_validated_on_the_same_specimens(write_shards, tmp_path):
    splits = {split: [(f"{split}{g}-{n}", f"G{g}", None) for g in range(9) for n in range(9)] for split in SPLITS}
    one, two = (write_shards(tmp_path / f"{bag}", splits, bag=bag) for bag in (3, 8))
    assert ids(one) == ids(two)


def test_the_sample_is_of_more_genera_than_whole_bags_would_be(write_shards, tmp_path):
    """16 specimens in bags of 8 were of two genera."""
    splits = {split: [(f"{split}{g}-{n}", f"G{g}", None) for g in range(20) for n in range(8)] for split in SPLITS}
    sample = read_training_data(spec_of(write_shards(tmp_path / "shards", splits), validate_rows=16)).validation
    assert len(sample.specimens) == 16
    assert len(set(sample.kinds.tolist())) >= 6
    assert not sample.obstacle


def test_a_sample_too_large_to_be_held_is_refused(small_shards, monkeypatch):
    monkeypatch.setattr(module, "MAX_VALIDATION_BYTES", 40_000)
    with pytest.raises(ValueError, match=r"validate_rows=4096: the JPEGs of \d+ validation specimens take") as caught:
        read_training_data(spec_of(small_shards))
    fewer = int(str(caught.value).rsplit(maxsplit=1)[1])
    assert 10 < fewer < 50
    assert read_training_data(spec_of(small_shards, validate_rows=fewer - 5)).validation is not None


def test_the_plan_knows_the_herbarium_of_each_row(write_shards, tmp_path):
    """Every pair is of two herbaria, though one herbarium has three of four sheets."""
    sheets = {
        split: [(f"{split}{g}-{n}", f"G{g}", None, "K" if n % 4 else "NY") for g in range(9) for n in range(16)]
        for split in SPLITS
    }
    shards = write_shards(tmp_path / "shards", sheets, bag=16)
    spec = spec_of(shards, objective={"name": "triplet", "group": 2}, stream={"batch": 16, "herbaria": 1})
    seen = Counter()
    institutions = read_specimen_columns(shards, "train")["institution"].to_pylist()
    for window in read_training_data(spec).windows:
        order = order_rows(window)
        for parts, rows in zip(order.slice, order.row, strict=True):
            found = [institutions[window.slices[p].bag * 16 + int(r)] for p, r in zip(parts, rows, strict=True)]
            seen.update(found)
            assert all(set(found[at : at + 2]) == {"K", "NY"} for at in range(0, 16, 2))
    assert seen["K"] == seen["NY"]


def test_herbaria_cannot_be_balanced_if_there_is_one(small_shards):
    with pytest.raises(ValueError, match=r"stream\.herbaria=1, but all training sheets are of one herbarium"):
        read_training_data(spec_of(small_shards, stream={"batch": 16, "herbaria": 1}))
