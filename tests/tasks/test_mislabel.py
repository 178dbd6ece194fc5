import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.config import ConfigError, load
from herbray.tasks import UnscorableError
from herbray.tasks.mislabel import Mislabel, detection_scores, swap_labels
from herbray.tasks.pairs import Pair

ALBA_EREMA = Pair(positive="Alba", negative="Erema", kind="distinct")


def values(scores, metric):
    return [score.value for score in scores if score.metric == metric and score.fold >= 0]


def counts(scores):
    return {score.metric: score.value for score in scores if score.fold == -1}


def test_planted_swaps_are_found_where_the_genera_lie_apart(embeddings_of):
    embeddings = embeddings_of({"Alba": 150, "Erema": 100}, separation=12.0)
    scores = Mislabel(pairs=(ALBA_EREMA,), draws=4).run(embeddings, "random")
    assert counts(scores) == {"rows": 250, "swapped": 25, "rows_left_out": 0}
    assert np.mean(values(scores, "tpr")) > 0.9
    assert np.mean(values(scores, "oof_tpr")) > 0.9
    assert np.mean(values(scores, "fpr")) < 0.05
    assert np.mean(values(scores, "auroc")) > 0.95
    assert np.mean(values(scores, "precision_at_n")) > 0.9
    assert sorted({score.fold for score in scores}) == [-1, 0, 1, 2, 3]


def test_without_signal_a_swapped_name_is_as_suspect_as_any(embeddings_of):
    embeddings = embeddings_of({"Alba": 60, "Erema": 60}, separation=0.0)
    scores = Mislabel(pairs=(ALBA_EREMA,), draws=10).run(embeddings, "random")
    assert abs(np.mean(values(scores, "oof_tpr")) - np.mean(values(scores, "oof_fpr"))) < 0.25
    assert 0.3 < np.mean(values(scores, "auroc")) < 0.7


def test_specimens_known_to_be_wrong_are_neither_swapped_nor_false_alarms(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Erema": 40}, separation=12.0)
    true_species = embeddings.species.copy()
    true_species[:6] = "Erema alta"  # six sheets filed as Alba
    reviewed = dataclasses.replace(embeddings, true_species=true_species)
    task = Mislabel(pairs=(ALBA_EREMA,), draws=2)
    scores = task.run(reviewed, "random")
    assert counts(scores) == {"rows": 74, "swapped": 7, "rows_left_out": 6}
    assert scores[3:] == task.run(embeddings.take(np.arange(6, 80)), "random")[3:]


def test_too_few_sound_specimens_are_refused(embeddings_of):
    embeddings = embeddings_of({"Alba": 7, "Erema": 20}, separation=3.0)
    true_species = embeddings.species.copy()
    true_species[:3] = "Erema alta"
    with pytest.raises(UnscorableError, match="mislabel, split 'random', pair Alba–Erema: 4 specimens of 'Alba'"):
        Mislabel(pairs=(ALBA_EREMA,)).run(dataclasses.replace(embeddings, true_species=true_species), "random")


@given(
    sizes=st.tuples(st.integers(5, 60), st.integers(5, 60)),
    share=st.floats(0.01, 0.49),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_swaps_take_the_share_of_each_genus_and_leave_enough_for_the_folds(sizes, share, seed):
    truth = np.repeat([0, 1], sizes)
    labels = swap_labels(truth, share, seed)
    for label, size in enumerate(sizes):
        assert (labels[truth == label] != label).sum() == max(1, round(share * size))
    assert np.bincount(labels).min() >= min(sizes)
    assert np.array_equal(labels, swap_labels(truth, share, seed))


def test_draws_differ_in_the_rows_that_they_swap():
    truth = np.repeat([0, 1], 50)
    drawn = {tuple(swap_labels(truth, 0.1, seed=89, draw=draw)) for draw in range(20)}
    assert len(drawn) == 20


def test_rates_are_those_counted_by_hand():
    # rows 0 and 1 are wrong; the probe disagrees with the label at rows 0 and 4
    given_labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    wrong = np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    confidence = np.array([0.1, 0.6, 0.9, 0.8, 0.3, 0.7, 0.95, 0.85])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    probabilities[4:] = probabilities[4:, ::-1]
    scores = detection_scores(wrong, given_labels, probabilities)
    assert scores["oof_tpr"] == 1 / 2
    assert scores["oof_fpr"] == 1 / 6
    assert scores["oof_precision"] == 1 / 2
    assert scores["precision_at_n"] == 1 / 2  # least confident: rows 0 and 4
    assert scores["auroc"] == pytest.approx((6 + 5) / 12)  # row 0 below all six, row 1 below five


def test_a_share_of_half_or_more_is_refused():
    with pytest.raises(ConfigError, match=r"share: .*less than 0\.5"):
        load(Mislabel, overrides=["share=0.5"])
