import numpy as np

from herbray.tasks.methods.units import gathering_codes, tally


def test_rows_of_one_gathering_share_a_number_and_unknown_gatherings_are_separate():
    codes = gathering_codes(np.array(["x", None, "y", "x", None, "1"], dtype=object))
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 5


def test_tally_counts():
    assert tally(np.array([3, 1, 3, 3]), np.array([[3, 2], [1, 3]])).tolist() == [[3, 0], [1, 3]]
