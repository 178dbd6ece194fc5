from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from herbray import schema
from herbray.report.scores import Cell, Scores, kinship, level_order
from herbray.report.sections.summary import (
    discrimination_findings,
    identification_findings,
    mislabel_findings,
    summarise_findings,
)

PAIR = "Syzygium–Eugenia"


def identity_of(model, init="imagenet", seed=1):
    """An encoder as results know it; frozen ones are the starts of the others, if these are ResNets."""
    frozen = model in (schema.UNTRAINED, "efficientnet_lite0")
    objective, start = (schema.UNTRAINED, f"{model}-{init}") if frozen else (model, f"untrained-{init}")
    return schema.Identity(model, f"{model}-{init}-{seed}", objective, f"{model}-{init}", init, start, seed)


def result(model, fold, value, metric="accuracy", task="identify", level="genus", **encoder):
    place = {"task": task, "split": "random", "level": level, "fold": fold, "metric": metric, "value": value}
    return asdict(identity_of(model, **encoder)) | place


def spread(model, mean, half=0.01, **kind):
    """Three folds around a mean; the sample standard deviation is `half`."""
    return [result(model, fold, mean + step * half, **kind) for fold, step in enumerate((-1, 0, 1))]


def scores_of(*groups):
    return Scores(pa.Table.from_pylist([row for group in groups for row in group], schema=schema.RESULT))


def identified(*groups):
    (finding,) = identification_findings(scores_of(*groups), "identify", "accuracy", "majority")
    return finding, " ".join(summarise_findings([finding], "accuracy"))


def test_a_lead_over_all_others_is_called():
    finding, words = identified(spread("triplet", 0.8), spread("classifier", 0.7), spread("untrained", 0.2))
    assert (finding.leader.model, finding.lead, finding.training) == ("triplet", "leads", "above")
    assert finding.order == "triplet > classifier"
    assert words == (
        "The best trained encoder is clearly better than the best frozen encoder in the only comparison. "
        "Triplet leads clearly in the only comparison. "
        "Best accuracy: 80.0%; best frozen encoder: 20.0%."
    )


def test_overlapping_intervals_are_undecided():
    finding, words = identified(spread("triplet", 0.61), spread("classifier", 0.6), spread("untrained", 0.605))
    assert (finding.lead, finding.training, finding.order) == ("undecided", "undecided", "triplet ≈ classifier")
    assert "Undecided: in no comparison is one encoder clearly better than all others." in words
    assert words.startswith("The best trained encoder is clearly better than the best frozen encoder in no comparison.")


def test_a_pretrained_network_is_a_baseline_and_no_leader():
    groups = spread("efficientnet_lite0", 0.95), spread("triplet", 0.7), spread("classifier", 0.6)
    finding, words = identified(*groups, spread("untrained", 0.5))
    assert (finding.leader.model, finding.baseline[0].model) == ("triplet", "efficientnet_lite0")
    assert "clearly worse in the only comparison" in words


def test_the_first_sentence_says_what_training_gained():
    rows = spread("triplet", 0.7) + spread("untrained", 0.5)
    table = pa.Table.from_pylist(rows, schema=schema.RESULT)
    for mean, low, high, words in (
        (0.2, 0.15, 0.25, "genus on R (random): triplet +20.0 points over untrained (15.0 to 25.0)."),
        (0.2, -0.05, 0.45, "genus on R (random): triplet +20.0 points over untrained (-5.0 to 45.0, undecided)."),
        (-1e-4, -1e-4, 0.0, "genus on R (random): triplet +0.0 points over untrained (0.0 to 0.0, undecided)."),
    ):
        pair = comparison("triplet", "untrained", low, high).set_column(20, "difference", pa.array([mean]))
        (finding,) = identification_findings(Scores(table, pair), "identify", "accuracy", None)
        assert summarise_findings([finding], "accuracy")[0].endswith(words)


def test_intervals_that_touch_are_undecided():
    low, high, higher = Cell((0.0, 1.0, 2.0)), Cell((2.0, 3.0, 4.0)), Cell((2.1, 3.1, 4.1))
    assert not high.is_above(low)
    assert higher.is_above(low)


def comparison(a, b, low, high, metric="accuracy", task="identify", level="genus"):
    row = dict.fromkeys(schema.COMPARISON.names, 0)
    row |= {"task": task, "split": "random", "level": level, "metric": metric, "better": "undecided"}
    for end, model in (("a", a), ("b", b)):
        row |= {f"{name}_{end}": value for name, value in asdict(identity_of(model)).items()}
    row |= {"encoders_a": [], "encoders_b": [], "lower_is_better": metric == "fpr", "low": low, "high": high}
    return pa.Table.from_pylist([row], schema=schema.COMPARISON)


@pytest.mark.parametrize(
    ("pair", "low", "high", "lead"),
    [
        (("classifier", "triplet"), -0.02, -0.001, "leads"),
        (("triplet", "classifier"), 0.001, 0.02, "leads"),
        (("classifier", "triplet"), -0.02, 0.001, "undecided"),
    ],
)
def test_a_paired_comparison_decides_where_there_is_one(pair, low, high, lead):
    near = spread("triplet", 0.61, 0.1) + spread("classifier", 0.6, 0.1)
    apart = spread("triplet", 0.9) + spread("classifier", 0.1)
    for rows in near, apart:
        table = pa.Table.from_pylist(rows, schema=schema.RESULT)
        scores = Scores(table, comparison(*pair, low, high))
        assert scores.paired
        (finding,) = identification_findings(scores, "identify", "accuracy", None)
        assert (finding.leader.model, finding.lead) == ("triplet", lead)
        assert finding.order == f"triplet {'>' if lead == 'leads' else '≈'} classifier"


def test_an_encoder_that_flags_clearly_more_correct_labels_does_not_lead():
    kind = {"task": "mislabel", "level": PAIR}
    rows = spread("triplet", 0.9, metric="tpr", **kind) + spread("classifier", 0.5, metric="tpr", **kind)
    rows += spread("triplet", 0.21, 0.2, metric="fpr", **kind) + spread("classifier", 0.2, 0.2, metric="fpr", **kind)
    told = [
        mislabel_findings(
            Scores(pa.Table.from_pylist(rows, schema=schema.RESULT), each), "mislabel", "tpr", "fpr", [PAIR]
        )
        for each in (None, comparison("triplet", "classifier", 0.001, 0.02, metric="fpr", **kind))
    ]
    assert [finding.lead for (finding,) in told] == ["leads", "undecided"]


def test_a_wide_interval_further_down_keeps_the_lead_undecided():
    near, wide = spread("classifier", 0.7), spread("autoencoder", 0.69, 0.15)
    assert identified(spread("triplet", 0.8), near)[0].lead == "leads"
    assert identified(spread("triplet", 0.8), near, wide)[0].lead == "undecided"


def test_a_single_value_is_no_lead():
    finding, _ = identified([result("triplet", 0, 0.9)], [result("classifier", 0, 0.1)], [result("untrained", 0, 0.0)])
    assert (finding.lead, finding.training) == ("undecided", "undecided")


def test_one_model_alone_is_no_comparison():
    finding, words = identified(spread("triplet", 0.8))
    assert (finding.lead, finding.training, finding.baseline) == ("only one", None, None)
    assert "Only triplet was evaluated" in words
    assert "No frozen encoder was evaluated" in words


def test_an_encoder_below_the_untrained_network_is_reported():
    finding, words = identified(spread("triplet", 0.3), spread("untrained", 0.6))
    assert finding.training == "below"
    assert "and clearly worse in the only comparison." in words


def test_the_baseline_alone_is_no_finding():
    scores = scores_of(spread("untrained", 0.6))
    assert identification_findings(scores, "identify", "accuracy", None) == []
    assert summarise_findings([], "accuracy") == ["There are no results for this application."]


def test_finding_more_errors_by_flagging_more_labels_is_no_lead():
    def judged(accused):
        kind = {"task": "mislabel", "level": PAIR}
        found = [spread(m, v, metric="tpr", **kind) for m, v in (("triplet", 0.9), ("classifier", 0.6))]
        blamed = [spread(m, v, metric="fpr", **kind) for m, v in (("triplet", accused), ("classifier", 0.1))]
        return mislabel_findings(scores_of(*found, *blamed), "mislabel", "tpr", "fpr", [PAIR])[0]

    assert judged(0.1).lead == "leads"
    assert judged(0.4).lead == "undecided"
    assert judged(0.4).note == "flags 40.0% of correct labels"


def test_training_is_judged_against_the_best_frozen_encoder():
    own, better = spread("untrained", 0.2), spread("untrained", 0.65, init="random")
    finding, _ = identified(spread("triplet", 0.7), own, better)
    assert finding.baseline[0].label == "untrained (random)"
    finding, _ = identified(spread("triplet", 0.7), own, better, spread("efficientnet_lite0", 0.66))
    assert finding.baseline[0].model == "efficientnet_lite0"


def test_a_label_named_like_a_baseline_is_not_a_baseline():
    rows = [row | {"objective": "triplet"} for row in spread("untrained", 0.7)]
    finding, _ = identified(rows, spread("classifier", 0.6))
    assert (finding.leader.model, finding.lead, finding.baseline) == ("untrained", "leads", None)


def test_kinds_of_one_model_and_start_are_not_pooled():
    faster = [row | {"kind": "faster", "encoder": "0a1b"} for row in spread("triplet", 0.5)]
    scores = scores_of(spread("triplet", 0.7), faster)
    cells = [scores.cell(one, "identify", "random", "genus", "accuracy").mean for one in scores.series]
    assert sorted(cells) == pytest.approx([0.5, 0.7])
    assert len({one.label for one in scores.series}) == len({one.marker for one in scores.series}) == 2
    assert scores.seeds == 1


def test_seeds_and_folds_are_pooled():
    scores = scores_of([result("triplet", fold, v, seed=fold % 2) for fold, v in enumerate((0.5, 0.7, 0.6))])
    cell = scores.cell(scores.series[0], "identify", "random", "genus", "accuracy")
    assert cell.mean == pytest.approx(0.6)
    assert cell.sd == pytest.approx(np.std([0.5, 0.7, 0.6], ddof=1))
    assert scores.seeds == 2


def test_values_that_are_not_finite_are_left_out_and_counted():
    scores = scores_of(spread("triplet", 0.7), [result("triplet", 3, float("nan")), result("x", 0, float("inf"))])
    assert scores.undefined == 2
    assert len(scores.cell(scores.series[0], "identify", "random", "genus", "accuracy").values) == 3


def test_several_comparisons_are_counted_with_their_range():
    kind = {"task": "discriminate", "metric": "balanced_accuracy"}
    pairs = ("A–B", "A–C")
    groups = [spread("triplet", v, level=pair, **kind) for pair, v in zip(pairs, (0.9, 0.8), strict=True)]
    groups += [spread("classifier", v, level=pair, **kind) for pair, v in zip(pairs, (0.7, 0.79), strict=True)]
    words = summarise_findings(
        discrimination_findings(scores_of(*groups), "discriminate", "balanced_accuracy", 0.5, pairs), "score"
    )
    assert words[1] == "Triplet leads clearly in 1 of 2 comparisons; 1 undecided."
    assert words[-1] == "Best score: 80.0–90.0%."


def test_colours_are_fixed_whatever_else_is_shown():
    alone = scores_of(spread("classifier", 0.5)).series[0]
    among = scores_of(spread("classifier", 0.5), spread("triplet", 0.5), spread("zeta", 0.5)).series[1]
    assert alone == among


def test_looks_of_series_differ():
    models = ("triplet", "autoencoder", "classifier", "proxy", "dino", "untrained")
    series = scores_of(*(spread(m, 0.5, init=init) for m in models for init in ("random", "imagenet"))).series
    assert len({(one.colour, one.marker) for one in series}) == len(series) == 12


@pytest.mark.parametrize(
    ("pair", "kin"),
    [("A–B", "same family"), ("A–C", "same order"), ("A–D", "different orders"), ("A–E", ""), ("A", ""), ("F–F", "")],
)
def test_kinship_is_read_off_the_names_that_are_known(pair, kin):
    taxonomy = {"A": ("f", "o"), "B": ("f", "o"), "C": ("g", "o"), "D": ("h", "p"), "F": (None, None)}
    assert kinship(pair, taxonomy) == kin


def test_levels_are_sorted_by_their_numbers_after_the_ranks():
    due = ["genus", "order", "A–B", "A–B @ 5%", "A–B @ 12.5%", "A–B @ 40%", "A–C @ 5%"]
    assert sorted(reversed(due), key=level_order) == due
    rows = [spread("triplet", 0.7, task="noise", level=level) for level in ("A–B @ 10%", "A–B @ 5%", "A–B @ 40%")]
    assert scores_of(*rows).levels("noise") == ["A–B @ 5%", "A–B @ 10%", "A–B @ 40%"]
