import html
import re
from dataclasses import asdict, replace

import pyarrow as pa
import pytest

from herbray import schema
from herbray.report import EncoderNote, ReportData, write_report
from herbray.report.claims import CLAIMS, START_CLAIMS, Claim, Measure, compared_objectives, judge_claims
from herbray.report.figures.forest import draw_forest
from herbray.report.sections.archive import SplitRow
from herbray.report.sections.study import study_section

PAIR = "Syzygium–Eugenia"
TPR = Measure("mislabel", "tpr", "true-positive rate")
FPR = Measure("mislabel", "fpr", "false-positive rate")


def comparison(a, b, difference, half=0.01, metric="tpr", lower_is_better=False, **place):
    """A row as the evaluation writes it: kinds in alphabetical order, `better` by the interval."""
    assert a < b
    low, high = difference - half, difference + half
    better = "undecided"
    if low > 0 or high < 0:
        better = "a" if (low > 0) != lower_is_better else "b"
    told = {"task": "mislabel", "split": "herbarium+random", "level": PAIR, "metric": metric} | place
    for end, kind in (("a", a), ("b", b)):
        told |= {f"{name}_{end}": value for name, value in asdict(identity_of(*kind)).items()}
    told |= {"seeds_a": 3, "encoders_a": [], "seeds_b": 2, "encoders_b": [], "lower_is_better": lower_is_better}
    return told | {"specimens": 500, "difference": difference, "low": low, "high": high, "better": better}


def identity_of(model, init, seed=1, **changes):
    """An encoder as results know it, called by its objective."""
    identity = schema.Identity(model, f"{model}-{init}-{seed}", model, f"{model}-{init}", init, "", seed)
    return replace(identity, **{"start_kind": f"untrained-{init}", **changes})


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=schema.COMPARISON)


def kinds(*models, init="imagenet"):
    return tuple((model, init) for model in models)


def judged(row, better, worse, measure=TPR):
    (judgement,) = judge_claims(table(row), [Claim("Mislabels", better, worse, (measure,))])
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
def test_a_difference_has_the_direction_of_the_claim(better, worse, difference, verdict, measure):
    lower = measure is FPR
    raw = -difference if lower else difference
    row = comparison(*kinds("classifier", "triplet"), raw, metric=measure.metric, lower_is_better=lower)
    one = judged(row, better, worse, measure)
    expected = 100 * difference * (1 if better == "classifier" else -1)
    assert one.verdict == verdict
    assert one.difference == pytest.approx(expected)
    assert (one.low, one.high) == pytest.approx((expected - 1, expected + 1))
    assert one.seeds == ((3, 2) if better == "classifier" else (2, 3))


def test_an_asymmetric_interval_is_reversed_correctly():
    row = comparison(*kinds("autoencoder", "triplet"), -0.2) | {"low": -0.5, "high": -0.1}
    one = judged(row, "triplet", "autoencoder")
    assert (one.low, one.difference, one.high) == pytest.approx((10, 20, 50))


def test_only_encoders_from_the_same_start_weights_are_compared():
    mixed = comparison(("classifier", "imagenet"), ("triplet", "random"), -0.2)
    same = comparison(("classifier", "random"), ("triplet", "random"), -0.2)
    kin = comparison(("triplet", "imagenet"), ("triplet", "random"), 0.2)
    claim = Claim("Mislabels", "triplet", "classifier", (TPR,))
    (judgement,) = judge_claims(table(mixed, same, kin), [claim])
    assert [one.start for one in judgement.rows] == ["random"]
    assert judge_claims(table(mixed, kin), [claim])[0].words == "no start weights in common"
    assert judge_claims(table(kin), [claim])[0].words == "not measured"


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((0.1,), "agrees in the only comparison"),
        ((-0.1, -0.1), "disagrees in both comparisons"),
        ((0.1, 0.1, 0.1, -0.1, 0, 0), "agrees in 3, disagrees in 1, undecided in 2 of 6 comparisons"),
    ],
)
def test_comparisons_of_a_claim_are_counted(differences, words):
    rows = [
        comparison(*kinds("autoencoder", "classifier"), difference, level=f"A–{place}")
        for place, difference in enumerate(differences)
    ]
    (judgement,) = judge_claims(table(*rows), [Claim("Mislabels", "autoencoder", "classifier", (TPR,))])
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
    found = {one.claim: one for one in judge_claims(table(*rows), CLAIMS) if one.rows}
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
    (triplet,) = [one for one in judge_claims(table(*rows), START_CLAIMS) if one.rows]
    assert triplet.claim.order == "triplet > untrained"
    assert [(one.start, one.verdict) for one in triplet.rows] == [("imagenet", "agrees")]


def test_own_start_weights_are_recognised_by_kind_and_not_by_name():
    row = comparison(
        *kinds("triplet", "untrained"), 0.1, metric="accuracy", task="identify", split="random", level="genus"
    )
    other = row | {"start_kind_b": "untrained-imagenet at another size"}
    trained = row | {"objective_b": "triplet"}  # a training with a label that reads like a start
    (triplet, *_) = judge_claims(table(row, other, trained), START_CLAIMS)
    assert len(triplet.rows) == 1


def test_two_objectives_compare_if_their_weights_were_the_same_whatever_goes_in():
    row = comparison(*kinds("classifier", "triplet"), -0.2)
    weights = "0123456789abcdef"
    claim = Claim("Mislabels", "triplet", "classifier", (TPR,))
    alike = row | {"start_kind_a": f"{weights}11111111", "start_kind_b": f"{weights}22222222"}
    other = row | {"start_kind_a": f"{weights}11111111", "start_kind_b": "fedcba987654321011111111"}
    assert judge_claims(table(alike), [claim])[0].rows
    assert judge_claims(table(other), [claim])[0].words == "no start weights in common"


def test_a_label_named_like_an_objective_is_not_that_objective():
    row = comparison(*kinds("classifier", "triplet"), -0.2) | {"objective_b": "autoencoder"}
    assert judge_claims(table(row), [Claim("Mislabels", "triplet", "classifier", (TPR,))])[0].words == "not measured"
    assert compared_objectives(table(row)) == {"classifier"}
    labelled = replace(note(), identity=identity_of("autoencoder", "imagenet", objective="triplet"))
    assert settings_of(labelled)["learning rate"]["autoencoder"] == "–"


def test_several_encoders_of_an_objective_are_named_in_comparisons(tmp_path):
    rows = [comparison(*kinds("classifier", "triplet"), -0.2) | {"kind_b": kind} for kind in ("k000001", "k000002")]
    (judgement,) = judge_claims(table(*rows), [Claim("Mislabels", "triplet", "classifier", (TPR,))])
    assert [one.start for one in judgement.rows] == [
        "imagenet: triplet (000001) and classifier",
        "imagenet: triplet (000002) and classifier",
    ]


def test_comparisons_with_a_non_finite_interval_are_ignored():
    row = comparison(*kinds("classifier", "triplet"), 0.2) | {"high": float("nan")}
    assert not compared_objectives(table(row))


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(ValueError, match="the comparisons lack the columns better, level"):
        judge_claims(table().drop_columns(["level", "better"]), CLAIMS)


def test_a_claim_contains_a_ranking_and_no_score():
    for claim in CLAIMS:
        assert not re.search(r"\d", repr(claim))


SETTINGS = {
    "objective": {"name": "triplet", "margin": 0.1, "normalise": True, "mining": "all", "rivals": 0},
    "encoder": {"arch": "resnet18", "init": "imagenet", "normalise": False, "stem": "standard", "size": 128},
    "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.05},
    "stream": {"batch": 48},
    "epochs": 8,
    "keep": "best",
    "precision": "auto",
    "dim": 512,
}
TWO = table(
    comparison(*kinds("autoencoder", "triplet"), -0.2, metric="auroc"),
    comparison(*kinds("autoencoder", "triplet"), 0.2, metric="tpr"),
    comparison(*kinds("triplet", "untrained"), 0.1, metric="accuracy", task="identify", split="random", level="genus"),
)


def note(model="triplet", init="imagenet", seed=89, settings=SETTINGS):
    return EncoderNote(
        identity_of(model, init, seed),
        f"herbray-{model} v{seed}",
        8.0,
        10,
        1,
        None,
        None,
        "",
        "ResNet-18" if isinstance(settings.get("encoder"), dict) else "",
        settings,
    )


def data(**parts):
    nothing = ReportData(
        "", schema.RESULT.empty_table(), {}, [], None, {}, [], schema.QUARANTINE.empty_table(), "", "", ""
    )
    return replace(nothing, **parts)


def page_of(tmp_path, **parts):
    write_report(data(**parts), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def text_of(page):
    section = page[page.index('<section id="study">') :].partition("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", section)).split())


def settings_of(*notes):
    (shown,) = [study_section(TWO, notes, [], "s")]
    return {
        row.label: dict(zip(shown.objectives, (ours for _, ours in row.values), strict=True)) for row in shown.settings
    }


def test_the_section_follows_the_third_application_and_shows_the_verdicts(tmp_path):
    page = page_of(tmp_path, comparisons=TWO, encoders=[note()], manifest={"splits": {"train": 300, "random": 100}})
    assert re.findall(r'<section id="(\w+)"', page)[5:7] == ["mislabels", "study"]
    assert page.count('<a href="#study">') == 1
    text = text_of(page)
    assert "Mislabels triplet > autoencoder agrees in 1, disagrees in 1 of 2 comparisons" in text
    assert "Mislabels triplet > classifier not measured" in text
    assert "AUROC of the ranking +20.0 +19.0 to +21.0 500 2 and 3 agrees" in text
    assert "true-positive rate −20.0 −21.0 to −19.0 500 2 and 3 disagrees" in text
    assert "train 424,544 53.6% 300 75.0%" in text
    assert "H (herbarium) 139,529 17.6% – –" in text
    assert "Trained encoders compared with their start weights" in text
    assert "Genus identification: triplet > untrained genus · R (random) imagenet accuracy +10.0" in text
    assert page.count("<svg") == 1


@pytest.mark.parametrize(
    "comparisons",
    [
        None,
        table(),
        table(comparison(*kinds("triplet", "untrained"), 0.1)),
        table(comparison(("triplet", "imagenet"), ("triplet", "random"), 0.1)),
    ],
    ids=["none", "no row", "one objective", "one objective, two starts"],
)
def test_without_two_objectives_there_is_no_section(tmp_path, comparisons):
    page = page_of(tmp_path, comparisons=comparisons, encoders=[note()])
    assert "#study" not in page
    assert 'id="study"' not in page


def test_objectives_without_start_weights_in_common_are_shown_and_not_judged(tmp_path):
    mixed = table(comparison(("autoencoder", "models:/pretraining@candidate"), ("triplet", "imagenet"), -0.2))
    page = page_of(tmp_path, comparisons=mixed)
    assert "Mislabels triplet > autoencoder no start weights in common" in text_of(page)
    assert "All comparisons" not in page
    assert "<svg" not in page


def test_our_settings_are_shown_next_to_those_of_the_study():
    ours = settings_of(note(), note("classifier", settings={}), note("untrained"))
    triplet = {label: values["triplet"] for label, values in ours.items()}
    assert triplet["start weights"] == "ImageNet"
    assert triplet["loss"] == "margin 0.1, Euclidean, unit vectors, mining all"
    assert triplet["optimiser"] == "AdamW, weight decay 0.01"
    assert triplet["schedule"] == "cosine, warm-up 0.05 of all steps"
    assert (triplet["learning rate"], triplet["batch per worker"]) == ("0.001", "48")
    assert ours["learning rate"]["classifier"] == ours["start weights"]["autoencoder"] == "–"


def test_published_settings_are_written_like_those_of_the_study():
    published = {
        "objective": {"margin": 1.0, "normalise": False, "mining": "published", "rivals": 16},
        "optimizer": {"name": "adam", "lr": 1e-3, "weight_decay": 0, "schedule": "constant", "warmup": 0},
        "precision": "float32",
    }
    shown = study_section(TWO, [note(settings=SETTINGS | published)], [], "s")
    paper_and_ours = {row.label: row.values[0] for row in shown.settings}
    for label in (
        "start weights",
        "network",
        "optimiser",
        "schedule",
        "learning rate",
        "pixels normalised",
        "precision",
    ):
        paper, ours = paper_and_ours[label]
        assert paper == ours
    assert paper_and_ours["loss"][1] == "margin 1, Euclidean, raw vectors, no mining, as published"
    assert paper_and_ours["batch per worker"][1] == "48, 16 of which only as negatives"


def test_values_that_differ_between_runs_are_all_shown():
    faster = SETTINGS | {"optimizer": SETTINGS["optimizer"] | {"lr": 3e-3}}
    ours = settings_of(note(seed=7, settings=faster), note(init="random"), note())
    assert ours["learning rate"]["triplet"] == "0.003; 0.001"
    assert ours["start weights"]["triplet"] == "ImageNet; random"
    assert ours["seed"]["triplet"] == "7; 89"
    assert settings_of(*(note(seed=seed) for seed in range(6)))["seed"]["triplet"] == "0; 1; 2; 3; 2 more"


def test_malformed_settings_are_tolerated():
    odd = {"encoder": ["x"], "objective": {"normalise": [1], "margin": None}, "optimizer": {"lr": {"a": 1}}}
    ours = settings_of(note(settings=odd))
    assert ours["network"]["triplet"] == ours["loss"]["triplet"] == "–"
    assert ours["learning rate"]["triplet"] == "{'a': 1}"


def test_sizes_are_shares_of_the_five_sets_alone():
    rows = [SplitRow(name, "", count, 0.0, 3, None, None) for name, count in (("train", 30), ("unused", 70))]
    shown = study_section(TWO, [], rows, "s")
    assert [(one.name, one.our_share) for one in shown.sets if one.ours] == [("train", 1.0)]
    assert shown.sets[0].ours.genera == 3


HOSTILE = "<script>x</script>\"'> {{ 7 * 7 }} $\\frac{1$ \x00\u202e"


def test_hostile_names_stay_text(tmp_path):
    kin = (("autoencoder", HOSTILE), ("triplet", HOSTILE))
    rows = [comparison(*kin, 0.1, metric="auroc", level=HOSTILE, split=HOSTILE)]
    notes = [note(init=HOSTILE, settings=SETTINGS | {"epochs": HOSTILE, "keep": "https://ann:s3cret@host/x"})]
    page = page_of(tmp_path, comparisons=table(*rows), encoders=notes)
    assert "<script" not in page
    assert "s3cret" not in page
    assert text_of(page).count("<script>x</script>\"'> {{ 7 * 7 }}") > 3
    assert not re.search("[\x00\u202e]", page)


def test_the_same_rows_in_another_order_give_the_same_page(tmp_path):
    notes = [note(), note(init="random")]
    first = page_of(tmp_path, comparisons=TWO, encoders=notes)
    assert first == page_of(tmp_path, comparisons=TWO.take([2, 1, 0]), encoders=notes[::-1])


def test_the_figure_stays_legible():
    rows = [
        comparison(*kinds(a, b), 0.1, metric="auroc", level=f"A–{place:02d}")
        for place in range(30)
        for a, b in (("autoencoder", "triplet"), ("autoencoder", "classifier"))
    ]
    drawing = draw_forest(judge_claims(table(*rows), CLAIMS), "s")
    assert "40 of 60 comparisons are drawn" in drawing.caption
    assert "A–19" in drawing.svg
    assert "A–20" not in drawing.svg
