import re

import pyarrow as pa
import pytest

from herbray import schema
from herbray.report.claims import CLAIMS, STARTS, Claim, Measure, compared, judge

PAIR = "Syzygium–Eugenia"
TPR = Measure("mislabel", "tpr", "true-positive rate")
FPR = Measure("mislabel", "fpr", "false-positive rate", lower_is_better=True)


def comparison(a, b, difference, half=0.01, metric="tpr", lower_is_better=False, **place):
    """A row as the evaluation writes it: kinds in alphabetical order, `better` by the interval."""
    (model_a, init_a), (model_b, init_b) = a, b
    assert a < b
    low, high = difference - half, difference + half
    better = "undecided"
    if low > 0 or high < 0:
        better = "a" if (low > 0) != lower_is_better else "b"
    told = {"task": "mislabel", "split": "herbarium+random", "level": PAIR, "metric": metric} | place
    told |= {"model_a": model_a, "init_a": init_a, "seeds_a": 3, "model_b": model_b, "init_b": init_b, "seeds_b": 2}
    return told | {"specimens": 500, "difference": difference, "low": low, "high": high, "better": better}


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=schema.COMPARISON)


def kinds(*models, init="imagenet"):
    return tuple((model, init) for model in models)


def judged(row, better, worse, measure=TPR):
    (judgement,) = judge(table(row), [Claim("Mislabels", better, worse, (measure,))])
    (one,) = judgement.rows
    return one


@pytest.mark.parametrize(
    ("better", "worse", "difference", "verdict"),
    [
        ("classifier", "triplet", 0.2, "agrees"),
        ("triplet", "classifier", 0.2, "disagrees"),
        ("triplet", "classifier", -0.2, "agrees"),
        ("classifier", "triplet", -0.2, "disagrees"),
        ("triplet", "classifier", 0.005, "undecided"),
        ("classifier", "triplet", 0.005, "undecided"),
    ],
)
@pytest.mark.parametrize("measure", [TPR, FPR])
def test_a_difference_is_told_in_the_direction_of_the_claim(better, worse, difference, verdict, measure):
    lower = measure.lower_is_better
    raw = -difference if lower else difference
    row = comparison(*kinds("classifier", "triplet"), raw, metric=measure.metric, lower_is_better=lower)
    one = judged(row, better, worse, measure)
    expected = 100 * difference * (1 if better == "classifier" else -1)
    assert one.verdict == verdict
    assert one.difference == pytest.approx(expected)
    assert (one.low, one.high) == pytest.approx((expected - 1, expected + 1))
    assert one.seeds == ((3, 2) if better == "classifier" else (2, 3))


def test_an_interval_that_is_not_symmetric_is_turned_whole():
    row = comparison(*kinds("autoencoder", "triplet"), -0.2) | {"low": -0.5, "high": -0.1}
    one = judged(row, "triplet", "autoencoder")
    assert (one.low, one.difference, one.high) == pytest.approx((10, 20, 50))


def test_only_encoders_from_the_same_start_weights_are_compared():
    mixed = comparison(("classifier", "imagenet"), ("triplet", "random"), -0.2)
    same = comparison(("classifier", "random"), ("triplet", "random"), -0.2)
    kin = comparison(("triplet", "imagenet"), ("triplet", "random"), 0.2)
    claim = Claim("Mislabels", "triplet", "classifier", (TPR,))
    (judgement,) = judge(table(mixed, same, kin), [claim])
    assert [one.init for one in judgement.rows] == ["random"]
    assert judge(table(mixed, kin), [claim])[0].words == "no start weights in common"
    assert judge(table(kin), [claim])[0].words == "not measured"


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((0.1,), "agrees in the one comparison"),
        ((-0.1, -0.1), "disagrees in all 2 comparisons"),
        ((0.1, 0.1, 0.1, -0.1, 0, 0), "agrees in 3, disagrees in 1, undecided in 2 of 6 comparisons"),
    ],
)
def test_comparisons_of_a_claim_are_counted(differences, words):
    rows = [
        comparison(*kinds("autoencoder", "classifier"), difference, level=f"A–{place}")
        for place, difference in enumerate(differences)
    ]
    (judgement,) = judge(table(*rows), [Claim("Mislabels", "autoencoder", "classifier", (TPR,))])
    assert judgement.words == words


def test_transfer_is_judged_at_genus_on_what_training_never_saw():
    rows = [
        comparison(*kinds("classifier", "triplet"), -0.1, metric="accuracy", task=task, split=split, level=level)
        for task, split, level in [
            ("identify", "herbarium", "genus"),
            ("identify", "species", "genus"),
            ("identify", "random", "genus"),
            ("identify", "herbarium", "family"),
            ("transfer", "herbarium", "genus"),
            ("transfer", "herbarium", "order"),
        ]
    ]
    found = {one.claim: one for one in judge(table(*rows), CLAIMS) if one.rows}
    (judgement,) = found.values()
    places = [(one.measure.task, one.split, one.level) for one in judgement.rows]
    assert judgement.claim.about == "Transfer"
    wanted = [("identify", "herbarium"), ("identify", "species"), ("transfer", "herbarium")]
    assert places == [(*place, "genus") for place in wanted]


def test_training_is_judged_against_its_own_start():
    rows = [
        comparison(("triplet", init), ("untrained", "imagenet"), 0.1, metric="accuracy", task="identify")
        | {"split": "random", "level": "genus"}
        for init in ("imagenet", "random")
    ]
    (triplet,) = [one for one in judge(table(*rows), STARTS) if one.rows]
    assert triplet.claim.order == "triplet > untrained"
    assert [(one.init, one.verdict) for one in triplet.rows] == [("imagenet", "agrees")]


def test_an_interval_that_is_not_finite_tells_nothing():
    row = comparison(*kinds("classifier", "triplet"), 0.2) | {"high": float("nan")}
    assert not compared(table(row))


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(ValueError, match="the comparisons lack the columns better, level"):
        judge(table().drop_columns(["level", "better"]), CLAIMS)


def test_a_claim_holds_an_ordering_and_no_score():
    for claim in CLAIMS:
        assert not re.search(r"\d", repr(claim))
