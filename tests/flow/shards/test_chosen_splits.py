import pytest

from herbray.flow.shards.chosen_splits import nonempty_splits
from herbray.schema import TEST_SPLITS

SIZES = {"train": 9, "random": 3}


def test_default_splits_that_are_there_are_embedded_and_one_must_be():
    assert nonempty_splits(TEST_SPLITS, False, SIZES, {}) == ("random",)
    with pytest.raises(
        ValueError, match=r"no specimens in herbarium, species \(why\), random; the shards hold train \(9\)"
    ):
        nonempty_splits(TEST_SPLITS, False, {"train": 9}, {"species": "why"})


def test_named_splits_must_all_be_there():
    assert nonempty_splits(("random",), True, SIZES, {}) == ("random",)
    with pytest.raises(ValueError, match="no specimens in species; the shards hold train"):
        nonempty_splits(("species", "random"), True, SIZES, {})
    with pytest.raises(ValueError, match="herbarum unknown; known splits: train, validation"):
        nonempty_splits(("herbarum",), True, SIZES, {})
