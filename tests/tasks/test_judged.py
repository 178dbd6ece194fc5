import numpy as np
import pytest

from herbray.tasks.judged import (
    measure_average_precision,
    measure_precisions,
    measure_share,
    measure_stretches,
    resample_average_precision,
)

PLACES = np.arange(1, 101)
WRONG = PLACES % 4 == 1  # 1, 5, 9, …
ALONE = np.arange(100)


def test_the_share_of_a_part_has_wilsons_interval():
    share = measure_share(PLACES, WRONG, ALONE, 1, 100)
    assert (share.judged, share.gatherings, share.value) == (100, 100, 0.25)
    assert (share.low, share.high) == pytest.approx((0.1755, 0.3430), abs=5e-5)  # Wilson's interval of 25 in 100
    assert measure_share(PLACES, WRONG, ALONE, 101, 200) is None
    few = measure_share(PLACES[:3], np.ones(3, bool), ALONE[:3], 1, 10)
    assert few.value == few.high == 1.0
    assert 0.3 < few.low < 0.5


def test_sheets_of_one_gathering_count_as_one_observation():
    pairs = measure_share(PLACES, WRONG, ALONE // 2, 1, 100)
    alone = measure_share(PLACES, WRONG, ALONE, 1, 100)
    assert pairs.value == alone.value
    assert pairs.gatherings == 50
    assert pairs.high - pairs.low > 1.3 * (alone.high - alone.low)


def test_the_list_is_scored_on_judged_sheets_only():
    judged = np.array([1, 2, 4, 40, 90])
    wrong = np.array([True, True, False, True, False])
    assert [
        (each.last, each.judged, round(each.value, 3)) for each in measure_precisions(judged, wrong, np.arange(5))
    ] == [
        (10, 3, 0.667),
        (50, 4, 0.75),
        (200, 5, 0.6),
    ]
    parts = measure_stretches(judged, wrong, np.arange(5), 400)
    assert [(each.first, each.last, each.judged) for each in parts] == [(1, 10, 3), (11, 50, 1), (51, 200, 1)]


def test_average_precision_is_the_mean_precision_at_the_wrong_names():
    places, wrong = (
        np.array([7, 3, 11, 2]),
        np.array([True, False, True, True]),
    )  # in order: 2 wrong, 3, 7 wrong, 11 wrong
    assert measure_average_precision(places, wrong) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    low, high = resample_average_precision(places, wrong, np.arange(4), seed=0)
    assert 2 / 3 <= low < measure_average_precision(places, wrong) < high <= 1
    with pytest.raises(ValueError, match="no judged name is wrong"):
        measure_average_precision(places, np.zeros(4, bool))
