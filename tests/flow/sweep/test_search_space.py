import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from herbray.config import ConfigError
from herbray.flow.sweep.search_space import (
    Choice,
    Grid,
    Int,
    LogUniform,
    Range,
    Uniform,
    apply_values,
    count_points,
    draw_trials,
    format_range,
    list_combinations,
    parse_range,
)
from herbray.flow.training.specification import Train

finite = st.floats(-1e6, 1e6)
ordered = st.tuples(finite, finite).filter(lambda pair: pair[0] < pair[1]).map(lambda p: {"low": p[0], "high": p[1]})
positive = st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9)).filter(lambda pair: pair[0] < pair[1])
whole = st.tuples(st.integers(-50, 50), st.integers(1, 50)).map(lambda p: {"low": p[0], "high": p[0] + p[1]})
numbers = st.lists(st.integers(-9, 9) | finite, min_size=1, max_size=5, unique=True)
words = st.lists(st.sampled_from(["random", "imagenet", "all", "hard"]), min_size=1, unique=True)
ranges = st.one_of(
    ordered.map(lambda b: Uniform(**b)),
    positive.map(lambda b: LogUniform(low=b[0], high=b[1])),
    whole.map(lambda b: Int(**b)),
    (numbers | words).map(lambda v: Choice(values=tuple(v))),
    (numbers | words).map(lambda v: Grid(values=tuple(v))),
)
spaces = st.dictionaries(st.sampled_from(["a", "b.c", "b.d"]), ranges, min_size=1)


@given(ranges)
def test_a_range_is_what_its_text_says(each):
    assert parse_range(format_range(each)) == each


@given(ranges, st.floats(0, 1, exclude_max=True))
def test_draws_lie_in_the_range(each, fraction):
    value = each.at(fraction)
    if isinstance(each, Choice):
        assert value in each.values
    else:
        assert each.low <= value <= each.high
        assert isinstance(value, int) == isinstance(each, Int)


@given(spaces, st.integers(1, 6), st.integers(0, 5))
def test_trials_follow_from_space_and_seed_and_differ(space, trials, seed):
    trials = int(min(trials, count_points(space)))
    try:
        found = draw_trials(space, trials, seed)
    except ValueError as error:
        assert "too narrow" in str(error)  # noqa: PT017
        return
    assert found == draw_trials(space, trials, seed)
    assert found[:-1] == (draw_trials(space, trials - 1, seed) if trials > 1 else [])
    assert len({repr(values) for values in found}) == trials
    assert all(list(values) == list(space) for values in found)


@given(st.dictionaries(st.sampled_from("abc"), (numbers | words).map(lambda v: Grid(values=tuple(v))), min_size=1))
def test_a_grid_is_every_combination_once(space):
    found = list_combinations(space)
    assert len(found) == count_points(space) == len({repr(values) for values in found})


def test_grids_are_gone_through_in_turn_where_the_rest_is_drawn():
    space = {"margin": Grid(values=(0.1, 0.2)), "lr": LogUniform(low=1e-4, high=1e-2)}
    found = draw_trials(space, 6, 0)
    assert [values["margin"] for values in found] == [0.1, 0.2] * 3
    assert len({values["lr"] for values in found}) == 6


def test_loguniform_gives_each_order_of_magnitude_alike():
    rates = [values["lr"] for values in draw_trials({"lr": LogUniform(low=1e-4, high=1e-2)}, 400, 0)]
    assert 160 < sum(rate < 1e-3 for rate in rates) < 240
    assert {float(f"{rate:.4g}") for rate in rates} == set(rates)


@pytest.mark.parametrize(
    ("given_text", "message"),
    [
        ("uniform(2, 2)", "the range is empty: low 2 must be less than high 2"),
        ("uniform(3, 2)", "the range is empty"),
        ("loguniform(0, 1)", "low: Input should be greater than 0"),
        ("loguniform(-1, 1)", "greater than 0"),
        ("int(1, 1)", "the range is empty"),
        ("int(1, 2.5)", "int takes two integers"),
        ("uniform(1)", "uniform takes two numbers"),
        ("uniform(a, b)", "uniform takes two numbers"),
        ("uniform(0, 1e999)", "high: Input should be a finite number"),
        ("normal(0, 1)", r"normal\(…\) is no kind of range: write uniform\(low, high\)"),
        ("__import__('os').system('true')", "is no kind of range"),
        ("0.1", "not a range"),
        (0.1, "not a range"),
        ([], "at least 1 item"),
        ("grid()", "at least 1 item"),
        ([1, 1], "a choice is given twice"),
        ([[1]], "a choice is a number, a text"),
    ],
)
def test_what_is_no_range_is_refused_in_words(given_text, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Range).validate_python(given_text)


def test_yaml_words_that_are_numbers_are_numbers():
    assert parse_range(["1e-4", "true", "hard", 3]).values == (1e-4, True, "hard", 3)


def test_a_search_space_too_small_for_the_trials_is_refused():
    with pytest.raises(ValueError, match="the space has 4 points, fewer than trials=5"):
        draw_trials({"a": Int(low=1, high=2), "b": Choice(values=(1, 2))}, 5, 0)
    with pytest.raises(ValueError, match="too narrow: they do not give trials=9"):
        draw_trials({"a": Uniform(low=1.0, high=1.0001)}, 9, 0)
    with pytest.raises(ValueError, match="needs a grid or a list of choices for each path, but a is an interval"):
        list_combinations({"a": Uniform(low=0, high=1)})
    assert math.isinf(count_points({"a": Uniform(low=0, high=1)}))


def test_a_trial_is_the_base_with_its_values():
    base = Train.model_validate({"objective": {"name": "triplet", "group": 2}, "optimizer": {"weight_decay": 0.1}})
    job = apply_values(base, {"objective.margin": 0.4, "optimizer.lr": 0.002, "augment.flip": 0.0}, 0)
    assert (job.objective.margin, job.objective.group) == (0.4, 2)
    assert (job.optimizer.lr, job.optimizer.weight_decay, job.augment.flip) == (0.002, 0.1, 0.0)
    assert apply_values(Train(), {"objective.margin": 0.4}, 0).objective.margin == 0.4
    assert apply_values(Train(), {"objective.name": "classifier"}, 0).objective.name == "classifier"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("objective.margn", "objective.margn: unknown key; did you mean 'margin'"),
        ("objectiv.margin", "objectiv: unknown key; did you mean 'objective'"),
        ("seed.more", "seed is a single value"),
        ("shards", "all trials learn from the same shards"),
        ("epochs", "compared at equal epochs"),
        ("loader.threads", "loader.threads cannot be searched: it says how the job runs, not what is learned"),
        ("checkpoints.windows", "how the job runs"),
        ("patience_s", "how the job runs"),
        ("reports", "what is reported"),
        ("neighbours", "all trials must be scored in the same way"),
        ("keep", "all trials must choose their checkpoint in the same way"),
        ("register_as", "a sweep registers nothing"),
        ("optimizer.lr", "Input should be greater than 0"),
    ],
)
def test_a_path_or_value_that_makes_no_job_is_refused(path, message):
    with pytest.raises(ConfigError, match=message):
        apply_values(Train.model_validate({"seed": 3}), {path: -1.0}, 7)
