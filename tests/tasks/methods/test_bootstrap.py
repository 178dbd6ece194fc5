from dataclasses import replace

import numpy as np
import pytest

from herbray import schema
from herbray.tasks import Outcome
from herbray.tasks.methods.bootstrap import (
    Bootstrap,
    Sample,
    bootstrap_intervals,
    compare_kinds,
    group_by_gathering,
    resampled_means,
)


def outcome_of(values, weights=None, ids=None, **keys):
    values = np.asarray(values, dtype=float)
    ids = np.array([f"s{n:05d}" for n in range(len(values))] if ids is None else ids, dtype=object)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    return Outcome("identify", "random", "genus", "accuracy", ids, values, weights, **keys)


def identity_of(model, init="random", seed=0, **changes):
    """An encoder whose label, if it has one, is its kind."""
    values = {"model": model, "encoder": f"{model}-{init}-{seed}", "objective": model, "kind": f"{model}-{init}"}
    return schema.Identity(**{**values, "init": init, "start_kind": f"untrained-{init}", "seed": seed, **changes})


def samples_of(**models):
    return [
        Sample(identity_of(model, seed=seed), outcome)
        for model, outcomes in models.items()
        for seed, outcome in enumerate(outcomes)
    ]


def test_means_are_those_of_rows_drawn_one_by_one():
    generator = np.random.default_rng(9)
    values, weights = generator.random((7, 2)), generator.random((7, 2))
    found = resampled_means(values, weights, 20, 5)
    again = np.random.default_rng(5)
    for row in found:
        drawn = again.integers(0, 7, 7)
        for column in range(2):
            top = sum(values[r, column] * weights[r, column] for r in drawn)
            assert row[column] == pytest.approx(top / sum(weights[r, column] for r in drawn))


def test_an_interval_is_the_normal_one_where_that_holds():
    hits = np.repeat([1.0, 0.0], [320, 80])
    low, high = bootstrap_intervals([outcome_of(hits)], Bootstrap(resamples=4000))
    assert (low.metric, high.metric, low.fold, high.fold) == ("accuracy_low", "accuracy_high", -1, -1)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert low.value == pytest.approx(0.8 - half, abs=0.006)
    assert high.value == pytest.approx(0.8 + half, abs=0.006)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        low, high = bootstrap_intervals(
            [outcome_of(generator.random(80) < 0.6)], Bootstrap(resamples=300, level=0.9), trial
        )
        held += low.value <= 0.6 <= high.value
    assert 0.82 < held / 200 < 0.96


def test_intervals_follow_the_seed_and_may_be_left_out():
    outcome = outcome_of(np.random.default_rng(1).random(50))
    assert bootstrap_intervals([outcome], Bootstrap(), 1) == bootstrap_intervals([outcome], Bootstrap(), 1)
    assert bootstrap_intervals([outcome], Bootstrap(), 1) != bootstrap_intervals([outcome], Bootstrap(), 2)
    assert bootstrap_intervals([outcome], Bootstrap(resamples=0)) == []
    assert bootstrap_intervals([outcome_of([1.0])], Bootstrap()) == []


def test_pairing_decides_what_separate_intervals_could_not():
    generator = np.random.default_rng(2)
    hard = generator.random(500)
    a, b = (hard < 0.62), (hard < 0.60)  # a names all that b names, and a few more
    row = compare_kinds(samples_of(a=[outcome_of(a)], b=[outcome_of(b)]), Bootstrap()).to_pylist()[0]
    assert row["better"] == "a"
    assert row["difference"] == pytest.approx(a.mean() - b.mean())
    assert 0 < row["low"] <= row["difference"] <= row["high"]
    low, _ = bootstrap_intervals([outcome_of(a)], Bootstrap())
    _, high = bootstrap_intervals([outcome_of(b)], Bootstrap())
    assert low.value < high.value  # apart they overlap


def test_shuffled_answers_are_undecided():
    generator = np.random.default_rng(3)
    hits = generator.random(300) < 0.7
    table = compare_kinds(samples_of(a=[outcome_of(hits)], b=[outcome_of(generator.permutation(hits))]), Bootstrap())
    assert table.schema == schema.COMPARISON
    row = table.to_pylist()[0]
    assert row["better"] == "undecided"
    assert row["low"] < 0 == row["difference"] < row["high"]


def test_the_lower_value_wins_if_lower_is_better():
    a, b = np.repeat([1.0, 0.0], [10, 90]), np.repeat([1.0, 0.0], [60, 40])
    samples = samples_of(a=[outcome_of(a, lower_is_better=True)], b=[outcome_of(b, lower_is_better=True)])
    assert compare_kinds(samples, Bootstrap()).to_pylist()[0]["better"] == "a"


def test_runs_that_differ_among_seeds_widen_the_interval():
    generator = np.random.default_rng(4)
    ease = generator.random(400)

    def runs(*levels):
        return [outcome_of(ease < level) for level in levels]

    alike = compare_kinds(samples_of(a=runs(0.66, 0.66, 0.66), b=runs(0.6, 0.6, 0.6)), Bootstrap()).to_pylist()[0]
    apart = compare_kinds(samples_of(a=runs(0.9, 0.66, 0.42), b=runs(0.7, 0.6, 0.5)), Bootstrap()).to_pylist()[0]
    assert (alike["seeds_a"], alike["better"]) == (3, "a")
    assert apart["better"] == "undecided"
    assert apart["high"] - apart["low"] > 3 * (alike["high"] - alike["low"])


@pytest.mark.slow
def test_an_interval_of_three_seeds_holds_the_truth_about_as_often_as_it_says():
    """Seeds vary and specimens hardly do: drawing three runs anew would hold it in four of five."""
    generator = np.random.default_rng(8)
    held = 0
    for trial in range(200):
        runs = {name: [outcome_of(np.full(40, 0.5 + 0.05 * generator.normal())) for _ in range(3)] for name in "ab"}
        row = compare_kinds(samples_of(**runs), Bootstrap(resamples=200), trial).to_pylist()[0]
        held += row["low"] <= 0 <= row["high"]
    assert 0.92 <= held / 200 <= 0.99


def test_only_kinds_with_several_seeds_add_seed_variation():
    generator = np.random.default_rng(8)
    ease = generator.random(400)
    alone, three = [outcome_of(ease < 0.6)], [outcome_of(ease < level) for level in (0.6, 0.7, 0.8)]
    one = compare_kinds(samples_of(a=three[1:2], untrained=alone), Bootstrap()).to_pylist()[0]  # by objective: a start
    row = compare_kinds(samples_of(a=three, untrained=alone), Bootstrap()).to_pylist()[0]
    trained = compare_kinds(samples_of(a=three, b=alone), Bootstrap()).to_pylist()[0]
    assert trained["high"] - trained["low"] > 1.7 * (row["high"] - row["low"])  # its seed would vary, too
    assert (one["better"], row["better"]) == ("a", "undecided")
    assert row["difference"] == pytest.approx(one["difference"], abs=0.02)
    assert row["high"] - row["low"] > 2 * 4.3 * 0.05  # t of two degrees of freedom, spread .1 of three runs


def test_only_shared_specimens_are_compared_and_all_pairs_are_returned():
    ids = [f"s{n:05d}" for n in range(5, 60)]
    samples = samples_of(
        c=[outcome_of(np.ones(50))], a=[outcome_of(np.zeros(55), ids=ids)], b=[outcome_of(np.ones(60))]
    )
    rows = compare_kinds(samples, Bootstrap(resamples=100)).to_pylist()
    assert [(row["model_a"], row["model_b"], row["better"]) for row in rows] == [
        ("a", "b", "b"),
        ("a", "c", "b"),
        ("b", "c", "undecided"),
    ]
    assert {row["specimens"] for row in rows} == {45}


def test_kinds_of_one_name_start_and_seed_are_compared_and_not_pooled():
    generator = np.random.default_rng(6)
    outcomes = [outcome_of(generator.random(60) < level) for level in (0.9, 0.5)]
    samples = [
        Sample(identity_of("triplet", kind=kind, encoder=f"encoder {kind}"), outcome)
        for kind, outcome in zip(("slow", "fast"), outcomes, strict=True)
    ]
    (row,) = compare_kinds(samples, Bootstrap()).to_pylist()
    assert [row[f"{name}_{end}"] for end in "ab" for name in ("model", "kind", "encoders")] == [
        *("triplet", "fast", ["encoder fast"]),
        *("triplet", "slow", ["encoder slow"]),
    ]
    assert (row["better"], row["lower_is_better"]) == ("b", False)


def test_two_trainings_of_one_kind_and_seed_are_two_runs():
    generator = np.random.default_rng(6)
    runs = [Sample(identity_of("a", encoder=f"e{n}"), outcome_of(generator.random(60) < 0.9)) for n in range(2)]
    (row,) = compare_kinds([*runs, *samples_of(b=[outcome_of(generator.random(60) < 0.5)])], Bootstrap()).to_pylist()
    assert (row["seeds_a"], row["encoders_a"], row["seeds_b"]) == (2, ["e0", "e1"], 1)


def test_the_order_of_runs_does_not_matter_and_one_kind_alone_gives_nothing():
    generator = np.random.default_rng(6)
    samples = samples_of(a=[outcome_of(generator.random(40)) for _ in range(2)], b=[outcome_of(generator.random(40))])
    assert compare_kinds(samples, Bootstrap()).equals(compare_kinds(samples[::-1], Bootstrap()))
    assert compare_kinds(samples[:2], Bootstrap()).num_rows == 0
    assert compare_kinds(samples, Bootstrap(resamples=0)).num_rows == 0


def test_an_outcome_without_weight_or_with_odd_numbers_is_refused():
    for values, weights, message in [
        ([1.0, 0.0], [0.0, 0.0], "must be positive"),
        ([1.0, 0.0], [1.0, -1.0], "at least 0"),
        ([1.0, np.nan], [1.0, 1.0], "not finite"),
        ([1.0, 0.0], [1.0], "differ in length"),
    ]:
        with pytest.raises(ValueError, match=message):
            outcome_of(values, weights)


def test_sheets_of_one_gathering_are_drawn_together():
    """Every sheet four times: the interval must be that of the single sheets, not half as wide."""
    hits = np.random.default_rng(3).random(100) < 0.6
    copies = outcome_of(np.repeat(hits, 4), unit=np.repeat([f"g{n:03d}" for n in range(100)], 4).astype(object))
    single, together, apart = (
        bootstrap_intervals([each], Bootstrap(resamples=2000))
        for each in (outcome_of(hits), copies, outcome_of(copies.value))
    )
    assert [end.value for end in together] == pytest.approx([end.value for end in single])
    assert apart[1].value - apart[0].value < 0.6 * (together[1].value - together[0].value)


def test_a_comparison_draws_by_gathering_too():
    generator = np.random.default_rng(4)
    a, b = (np.repeat(generator.random(60) < p, 5) for p in (0.7, 0.55))
    units = np.repeat([f"g{n:03d}" for n in range(60)], 5).astype(object)
    apart = compare_kinds(samples_of(a=[outcome_of(a)], b=[outcome_of(b)]), Bootstrap()).to_pylist()[0]
    together = compare_kinds(samples_of(a=[outcome_of(a, unit=units)], b=[outcome_of(b, unit=units)]), Bootstrap())
    row = together.to_pylist()[0]
    assert row["difference"] == apart["difference"]
    assert row["high"] - row["low"] > 1.8 * (apart["high"] - apart["low"])


def test_one_gathering_gives_no_estimate():
    alone = outcome_of([1.0, 0.0, 1.0], unit=np.array(["g"] * 3, dtype=object))
    assert bootstrap_intervals([alone], Bootstrap()) == []
    assert compare_kinds(samples_of(a=[alone], b=[alone]), Bootstrap()).num_rows == 0


def test_gatherings_are_those_of_the_labels(embeddings_of):
    embeddings = embeddings_of({"Alba": 4}, separation=1.0)
    embeddings = replace(embeddings, gathering=np.array(["g1", None, "g1", None], dtype=object))
    ids = embeddings.specimen_id[::-1]
    (found,) = group_by_gathering([outcome_of([1.0, 0.0, 1.0, 0.0], ids=ids)], embeddings)
    assert list(found.units) == [ids[0], "g1", ids[2], "g1"]
