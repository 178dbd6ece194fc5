import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herbray.data.draws import draw_numbers


def test_known_values_never_change():
    assert draw_numbers(89, "cap", ["NY-1", "NY-2"]).tolist() == [2931855677964825046, 8726239936936711965]


@pytest.mark.slow
@given(st.lists(st.text(), unique=True), st.integers())
def test_a_draw_follows_its_key_and_not_its_place(keys, seed):
    forward = draw_numbers(seed, "cap", keys)
    assert draw_numbers(seed, "cap", keys[::-1])[::-1].tolist() == forward.tolist()
    assert forward.dtype == np.uint64
    assert forward.shape == (len(keys),)


def test_seed_and_purpose_give_other_draws():
    keys = [f"K{i}" for i in range(100)]
    base = draw_numbers(1, "cap", keys)
    for other in (draw_numbers(2, "cap", keys), draw_numbers(1, "random", keys), draw_numbers(11, "ap", keys)):
        assert not np.isin(other, base).any()


def test_draws_are_uniform():
    shares = draw_numbers(5, "random", (str(i) for i in range(20_000))) / 2.0**64
    histogram, _ = np.histogram(shares, bins=20, range=(0, 1))
    assert ((histogram - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 19 degrees of freedom: p < .001 above 43.8


def test_a_nul_in_the_purpose_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        draw_numbers(1, "a\0b", ["x"])
