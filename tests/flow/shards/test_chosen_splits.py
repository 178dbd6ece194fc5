import pytest

from herbray.flow.shards.chosen_splits import select_nonempty_splits
from herbray.schema import TEST_SPLITS

SIZES = {"train": 9, "random": 3}


def test_empty_default_splits_are_dropped_unless_all_are_empty():
    assert select_nonempty_splits(TEST_SPLITS, False, SIZES, {}) == ("random",)
    with pytest.raises(
        ValueError, match=r"no specimens in herbarium, species \(why\), random; the shards hold train \(9\)"
    ):
        select_nonempty_splits(TEST_SPLITS, False, {"train": 9}, {"species": "why"})


def test_named_splits_must_not_be_empty():
    assert select_nonempty_splits(("random",), True, SIZES, {}) == ("random",)
    with pytest.raises(ValueError, match="no specimens in species; the shards hold train"):
        select_nonempty_splits(("species", "random"), True, SIZES, {})
    with pytest.raises(ValueError, match="herbarum unknown; known splits: train, validation"):
        select_nonempty_splits(("herbarum",), True, SIZES, {})
