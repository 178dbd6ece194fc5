import numpy as np

from herbray import schema
from herbray.flow.evaluation.card_section import format_section
from herbray.tasks import Measurement, to_outcome_table, to_result_table
from herbray.tasks.interface.outcomes import Place
from herbray.tasks.methods.bootstrap import Bootstrap, bootstrap_intervals

KEY = ("identify", "random", "genus", "accuracy")
ACCURACY = {"Alaceae": (40, 0.9), "Bolaceae": (20, 0.25), "<b>*Ciaceae*</b> | x": (30, 0.5), "Smallaceae": (19, 0.0)}


def measured():
    ids, hits, families = [], [], {}
    for family, (count, share) in ACCURACY.items():
        for number in range(count):
            ids.append(f"{family}-{number}")
            hits.append(number < share * count)
            families[ids[-1]] = family
    place = Place(*KEY[:3])
    ids, hits = np.array(ids, dtype=object), np.array(hits)
    outcomes = place.outcomes("accuracy", ids, hits)
    scores = place.scores({"accuracy": hits.mean(), "rows": 109})
    leak = Place("leakage", "herbarium", "institution")
    scores += leak.scores({"accuracy": 0.75, "majority": 0.4, "genus_majority": 0.45}, 0)
    scores += leak.scores({"excess": 0.123})
    return Measurement(scores + bootstrap_intervals(outcomes, Bootstrap(resamples=200)), outcomes), families


def text_of(found, families, key=KEY):
    who = schema.Identity("triplet", "0a1b", "triplet", "2c3d", "random", "4e5f", 89)
    return format_section(
        to_result_table(found.scores, who), to_outcome_table(found.outcomes, who), families, key, "0a1b"
    )


def test_the_worst_families_are_named_worst_first_if_they_have_enough_specimens():
    text = text_of(*measured())
    assert r"Bolaceae 0.250 of 20 specimens; &lt;b&gt;\*Ciaceae\*&lt;/b&gt; \| x 0.500 of 30 specimens" in text
    assert "Smallaceae" not in text
    assert "Of 3 families" in text
    assert text.index("Bolaceae") < text.index("Alaceae")


def test_the_table_holds_figures_with_intervals_only():
    found, families = measured()
    [row] = [line for line in text_of(found, families).splitlines() if line.startswith("| identify")]
    low, high = (score.value for score in found.scores if score.metric in ("accuracy_low", "accuracy_high"))
    assert f"| {found.outcomes[0].mean:.4g} | {low:.4g} to {high:.4g} |" in row


def test_leakage_is_compared_with_what_the_genus_alone_predicts():
    text = text_of(*measured())
    assert "with accuracy 0.750; from the genus alone the accuracy is 0.450" in text
    assert "+12.3 percentage points more than by chance" in text


def test_what_was_not_measured_is_said_to_be_unknown():
    found, families = measured()
    text = text_of(Measurement(found.scores[:1]), families)
    assert "Not known: `identify/random/genus/accuracy` was not measured" in text
    assert "add the task `leakage`" in text
    assert "no family has 20 specimens" in text_of(found, {})
    empty = format_section(schema.RESULT.empty_table(), schema.OUTCOME.empty_table(), {}, KEY, "")
    assert "|" not in empty
