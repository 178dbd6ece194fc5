import pytest

from herbray.flow.shards.chosen_splits import nonempty_splits
from herbray.schema import TEST_SPLITS

SIZES = {"train": 9, "random": 3}


def test_default_splits_that_are_there_are_embedded_and_one_must_be():
    assert nonempty_splits(TEST_SPLITS, False, SIZES, {}) == ("random",)
    with pytest.raises(
        ValueError, match=r"no specimen is in herbarium, species \(why\), random; there are train \(9\)"
    ):
        nonempty_splits(TEST_SPLITS, False, {"train": 9}, {"species": "why"})


def test_named_splits_must_all_be_there():
    assert nonempty_splits(("random",), True, SIZES, {}) == ("random",)
    with pytest.raises(ValueError, match="no specimen is in species; there are train"):
        nonempty_splits(("species", "random"), True, SIZES, {})
    with pytest.raises(ValueError, match="herbarum unknown; there are train, validation"):
        nonempty_splits(("herbarum",), True, SIZES, {})
