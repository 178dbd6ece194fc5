import numpy as np
import pytest

from herbray.tasks.wrong_names.conflicts import Conflict, estimate_sheet_rate, find_conflicts, weigh_names


def test_gatherings_under_several_names_are_found_whatever_the_order_of_rows():
    names = np.array([2, 0, 1, 0, -1, 0, 3, 3])
    units = np.array([5, 7, 5, 7, 7, 9, 5, 2])
    (found,) = find_conflicts(names, units)
    assert found.rows.tolist() == [0, 2, 6]
    assert found.names.tolist() == [1, 2, 3]
    assert found.names[found.which].tolist() == [2, 1, 3]
    assert find_conflicts(np.array([], dtype=int), np.array([], dtype=int)) == []


def test_the_rate_of_slips_counts_the_sheets_of_the_minority():
    conflict = Conflict(np.arange(3), np.array([1, 2]), np.array([0, 0, 1]))
    assert estimate_sheet_rate([conflict], 20) == 1 / 20
    assert 0 < estimate_sheet_rate([], 0) < 0.01


def test_weights_equal_the_sum_over_all_true_names_and_names_of_the_gathering():
    probability, frequency = np.array([0.5, 0.2, 0.3]), np.array([0.2, 0.3, 0.5])
    sheet, gathering = 0.1, 0.05
    filed = [0, 0, 1]  # of three sheets; the third name is no name of the gathering

    def likelihood(name):
        return np.prod([(1 - sheet) * (each == name) + sheet * frequency[each] for each in filed])

    joint = [
        probability[true]
        * ((1 - gathering) * likelihood(true) + gathering * (frequency[:2] @ [*map(likelihood, (0, 1))]))
        for true in range(3)
    ]
    conflict = Conflict(np.arange(3), np.array([0, 1]), np.array(filed))
    weights = weigh_names(conflict, probability[:2], frequency[:2], sheet, gathering)
    assert weights == pytest.approx(np.array(joint[:2]) / sum(joint))
