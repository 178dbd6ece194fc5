import numpy as np
import pytest
from scipy.stats import norm

from herbray.tasks.methods.bootstrap import resampled_means
from herbray.tasks.methods.looks import Interval, one_sided_error, widen_interval

CANDIDATES, GATHERINGS = 20, 60


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_levels_sum_to_alpha_over_any_number_of_looks(level):
    levels = [one_sided_error(level, look) for look in range(1, 100_000)]
    assert levels[0] == pytest.approx((1 - level) / 2)  # the lower end of the rule's own interval
    assert sum(levels) < 1 - level
    assert sum(levels) == pytest.approx(1 - level, rel=1e-4)
    assert levels == sorted(levels, reverse=True)


def test_ends_move_out_look_by_look_and_keep_their_skewness():
    found = Interval(0.1, 0.04, 0.19)
    wider = [widen_interval(found, 0.95, look, 10_000) for look in (1, 2, 3, 20)]
    assert wider[0].low == pytest.approx(0.04, abs=1e-4)
    assert [each.low for each in wider] == sorted((each.low for each in wider), reverse=True)
    for look, each in zip((1, 2, 3, 20), wider, strict=True):
        ratio = norm.isf(0.05 / look / (look + 1)) / norm.isf(0.025)
        assert each.low == pytest.approx(0.1 - 0.06 * ratio, abs=1e-4)
        assert each.high == pytest.approx(0.1 + 0.09 * ratio, abs=1e-4)
    assert widen_interval(found, 0.95, 1, 8).low < 0.03  # eight gatherings tell little of their own spread


@pytest.mark.parametrize(("look", "units", "message"), [(0, 9, "look 0"), (1, 1, "1 units")])
def test_no_look_and_no_units_are_refused(look, units, message):
    with pytest.raises(ValueError, match=message):
        widen_interval(Interval(0, -1, 1), 0.95, look, units)


def promoted(seed):
    """Whether any of twenty candidates that are as good as the champion is promoted: as before, and corrected."""
    generator = np.random.default_rng(seed)
    skill = generator.beta(2, 1, GATHERINGS)  # some gatherings are easy, for all encoders alike
    hits = generator.random((GATHERINGS, CANDIDATES + 1)) < skill[:, None]
    gains = hits[:, 1:].astype(float) - hits[:, :1]
    means = resampled_means(gains, np.ones_like(gains), 400, seed)
    columns = gains.mean(axis=0), *np.percentile(means, (2.5, 97.5), axis=0)
    found = [Interval(*each) for each in zip(*columns, strict=True)]
    corrected = [widen_interval(each, 0.95, look, GATHERINGS) for look, each in enumerate(found, 1)]
    return [any(each.low > 0 for each in ends) for ends in (found, corrected)]


@pytest.mark.slow
def test_of_twenty_equal_candidates_any_is_promoted_with_a_chance_of_alpha_at_most():
    times = 500
    before, corrected = np.mean([promoted(seed) for seed in range(times)], axis=0)
    assert before > 0.15  # each candidate at the full level
    assert 0.01 < corrected < 0.05 + np.sqrt(0.05 * 0.95 / times)  # a standard error of the simulation
