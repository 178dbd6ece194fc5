import pytest

from herbray.benchmark.harness.figures import ratio, slope, spread
from herbray.benchmark.harness.race import Lap
from herbray.benchmark.harness.spec import Flat, Growth, Limit, Target


def lap(contender, number, units=100, wall=1.0, cpu=1.0, peak=None):
    return Lap("case", contender, number, units, wall, cpu, 0.5, peak)


LAPS = [
    *(lap("herbray", i, cpu=c, wall=w) for i, c, w in ((1, 1.0, 0.5), (2, 2.0, 1.0), (3, 4.0, 2.0))),
    *(lap("peer", i, units=50, cpu=c, wall=w) for i, c, w in ((1, 1.0, 1.0), (2, 3.0, 1.0), (3, 2.0, 2.0))),
]


def test_a_figure_is_the_median_with_its_spread():
    found = spread(LAPS, "case", "herbray", "cpu_ms")
    assert (found.median, found.low, found.high) == (20.0, 10.0, 40.0)
    assert spread(LAPS, "case", "herbray", "rate").median == 100.0
    assert spread(LAPS, "case", "nobody", "rate") is None


def test_ratios_are_taken_within_a_round_and_above_one_ours_is_better():
    found = ratio(LAPS, "case", "herbray", "peer", "cpu_ms")  # 20/10, 60/20, 40/40
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    found = ratio(LAPS, "case", "herbray", "peer", "rate")  # 200/50, 100/50, 50/25
    assert (found.median, found.low, found.high) == (2.0, 2.0, 4.0)
    assert ratio(LAPS, "case", "herbray", "peer", "wall").median == 1.0
    assert ratio(LAPS, "case", "herbray", "nobody", "wall") is None


def test_a_target_is_met_missed_or_not_measured():
    assert Target("case", "herbray", "peer", "cpu_ms", 2.0).judge(LAPS).met is True
    missed = Target("case", "herbray", "peer", "cpu_ms", 2.1).judge(LAPS)
    assert missed.met is False
    assert missed.measured == "2.00 × (1.00–3.00)"
    assert Target("case", "herbray", "nobody", "cpu_ms", 2.0).judge(LAPS).met is None


def test_a_limit_bounds_one_contender():
    assert Limit("case", "herbray", "wall", 1.0).judge(LAPS).met is True
    assert Limit("case", "herbray", "wall", 0.9).judge(LAPS).met is False
    assert Limit("case", "nobody", "wall", 0.9).judge(LAPS).met is None


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(power):
    laps = [lap(str(n), 1, units=n, cpu=3e-6 * n**power, wall=1e-5 * n) for n in (10, 100, 1000)]
    assert slope(laps, "case", "cpu").exponent == pytest.approx(power)
    assert slope(laps, "case", "wall").exponent == pytest.approx(1.0)
    assert Growth("case", 1.05).judge(laps).met is (power <= 1.05)
    assert Growth("case", 1.05).judge(laps[:1]).met is None


def test_the_cost_of_a_start_does_not_flatter_the_exponent():
    laps = [lap(str(n), 1, units=n, cpu=5000 + n**1.2) for n in (1000, 10_000, 100_000)]
    told = Growth("case", 1.05).judge(laps)  # a line through all three would say 1.02
    assert told.met is False
    assert told.measured.endswith(", 10,000 → 100,000")


def test_memory_is_flat_when_the_largest_needs_little_more_than_the_smallest():
    laps = [lap("a", 1, units=10, peak=100), lap("a", 2, units=10, peak=80), lap("b", 1, units=1000, peak=140)]
    assert Flat("case", 1.5).judge(laps).met is True
    assert Flat("case", 1.3).judge(laps).met is False
    assert Flat("case", 1.3).judge(LAPS).met is None
