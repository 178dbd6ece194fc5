import numpy as np
import pytest

from herbray.tasks import UnscorableError
from herbray.tasks.methods.planting import KINDS, plant_wrong_names

TRUTH = np.repeat(np.arange(4), 30)
KIN = np.array([0, 0, 1, 1])
UNITS = np.arange(120) // 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_the_names_is_wrong_in_the_way_of_its_kind(kind):
    given = plant_wrong_names(TRUTH, KIN, UNITS, kind, 0.1, 5, np.random.default_rng(0))
    wrong = given != TRUTH
    assert wrong.sum() == 12
    if kind == "kin":
        assert (KIN[given] == KIN[TRUTH]).all()
    if kind == "gatherings":
        assert (wrong[::2] == wrong[1::2]).all()
        assert (given[::2] == given[1::2]).all()
    again = plant_wrong_names(TRUTH, KIN, UNITS, kind, 0.1, 5, np.random.default_rng(0))
    assert (again == given).all()


def test_classes_keep_enough_rows_and_names_without_kin_are_left():
    given = plant_wrong_names(TRUTH, KIN, UNITS, "random", 0.49, 29, np.random.default_rng(0))
    assert (given != TRUTH).sum() == 4
    with pytest.raises(UnscorableError, match="'kin'"):
        plant_wrong_names(TRUTH, np.arange(4), UNITS, "kin", 0.1, 5, np.random.default_rng(0))
    with pytest.raises(UnscorableError, match="'gatherings'"):
        plant_wrong_names(TRUTH, KIN, np.arange(120), "gatherings", 0.1, 5, np.random.default_rng(0))
    with pytest.raises(UnscorableError, match="too few sheets"):
        plant_wrong_names(TRUTH, KIN, UNITS, "random", 0.1, 30, np.random.default_rng(0))
