import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.config import ConfigError, load
from herbray.tasks import UnscorableError
from herbray.tasks.methods.pairs import Pair
from herbray.tasks.methods.swaps import swap_labels
from herbray.tasks.mislabel import Mislabel

ALBA_EREMA = Pair(positive="Alba", negative="Erema", kind="distinct")


def values(scores, metric):
    return [score.value for score in scores if score.metric == metric and score.fold >= 0]


def counts(scores):
    return {score.metric: score.value for score in scores if score.fold == -1}


def test_planted_swaps_are_found_if_the_genera_are_separated(embeddings_of):
    embeddings = embeddings_of({"Alba": 150, "Erema": 100}, separation=12.0)
    scores = Mislabel(pairs=(ALBA_EREMA,), draws=4).run(embeddings, "random")
    assert counts(scores) == {"rows": 250, "swapped": 25, "rows_left_out": 0, "similar": 0}
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
    assert counts(scores) == {"rows": 74, "swapped": 7, "rows_left_out": 6, "similar": 0}
    assert scores[4:] == task.run(embeddings.take(np.arange(6, 80)), "random")[4:]


def test_too_few_sound_specimens_are_refused(embeddings_of):
    embeddings = embeddings_of({"Alba": 7, "Erema": 20}, separation=3.0)
    true_species = embeddings.species.copy()
    true_species[:3] = "Erema alta"
    with pytest.raises(UnscorableError, match="mislabel, split 'random', pair Alba–Erema: 4 specimens of 'Alba'"):
        Mislabel(pairs=(ALBA_EREMA,)).run(dataclasses.replace(embeddings, true_species=true_species), "random")


def test_a_genus_of_too_few_gatherings_is_refused_however_many_its_sheets(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Erema": 30}, separation=3.0)
    gathering = np.array([f"g{row // 10}" for row in range(60)], dtype=object)
    with pytest.raises(UnscorableError, match="30 specimens of 'Alba' in 3 gatherings, but 5 gatherings are needed"):
        Mislabel(pairs=(ALBA_EREMA,)).run(dataclasses.replace(embeddings, gathering=gathering), "random")


def test_swaps_within_large_gatherings_are_dealt_into_folds(embeddings_of):
    embeddings = embeddings_of({"Alba": 60, "Erema": 60}, separation=9.0)
    gathering = np.array([f"g{row // 12}" for row in range(120)], dtype=object)  # five of each genus
    task = Mislabel(pairs=(ALBA_EREMA,), draws=8)
    scores = task.run(dataclasses.replace(embeddings, gathering=gathering), "random")
    assert np.mean(values(scores, "auroc")) > 0.95


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


def test_a_share_of_half_or_more_is_refused():
    with pytest.raises(ConfigError, match=r"share: .*less than 0\.5"):
        load(Mislabel, overrides=["share=0.5"])
