import warnings

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from herbray.probes.linear import LinearProbe, Probabilities
from herbray.tasks import UnscorableError
from herbray.tasks.identify import Identify
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.folds import iter_fold_rows
from herbray.tasks.methods.probe import FoldPredictions, cross_validate, predict_out_of_fold
from herbray.tasks.methods.scores import binary_scores, macro_scores
from herbray.tasks.mislabel import Mislabel


@pytest.fixture(scope="module")
def overlapping():
    generator = np.random.default_rng(5)
    labels = generator.permutation(np.repeat([0, 1, 2], [40, 25, 10]))
    features = generator.standard_normal((75, 30)) + np.eye(30)[labels]
    return features.astype(np.float32), labels


@pytest.mark.parametrize(("solver", "error"), [("sklearn", 1e-9), ("torch", 1e-7)])
@pytest.mark.parametrize(("task", "weights"), [(Identify, "balanced"), (Mislabel, None)])
def test_probabilities_are_those_of_the_plain_scikit_learn_pipeline(overlapping, task, weights, solver, error):
    features, labels = overlapping
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, class_weight=weights, max_iter=5000))
    folds = StratifiedKFold(5, shuffle=True, random_state=89)
    wanted = cross_val_predict(plain, features.astype(np.float64), labels, cv=folds, method="predict_proba")
    found = predict_out_of_fold(features, labels, np.arange(len(labels)), task(solver=solver), 89)
    assert np.abs(found.dense() - wanted).max() < error
    assert found.converged == 1.0


def test_each_row_is_held_out_once_and_classes_keep_their_share(overlapping):
    features, labels = overlapping
    folds = list(cross_validate(features, labels, np.arange(75), Identify(), 1))
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(75))
    assert all(np.array_equal(np.bincount(labels[fold.test]), [8, 5, 2]) for fold in folds)
    assert {fold.majority for fold in folds} == {0}


def test_too_small_a_class_and_a_single_class_are_refused(overlapping):
    features, _ = overlapping
    with pytest.raises(UnscorableError, match="5-fold cross-validation needs"):
        next(cross_validate(features, np.repeat([0, 1], [71, 4]), np.arange(75), Identify(), 1))
    with pytest.raises(UnscorableError, match="needs two classes"):
        next(cross_validate(features, np.zeros(75, dtype=np.intp), np.arange(75), Identify(), 1))


def test_a_class_of_one_gathering_is_refused_whatever_its_rows(overlapping):
    features, labels = overlapping
    units = np.where(labels == 2, 1000, np.arange(75))
    with pytest.raises(UnscorableError, match=r"gatherings per class \[40, 25, 1\].*in two or more gatherings"):
        next(cross_validate(features, labels, units, Identify(), 1))


@pytest.mark.slow
@given(
    rows=st.integers(4, 60),
    classes=st.integers(2, 6),
    gatherings=st.integers(2, 30),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=400, deadline=None)
def test_every_training_fold_has_every_class_and_units_stay_together(rows, classes, gatherings, folds, seed):
    generator = np.random.default_rng(seed)
    names = np.array([f"g{number}" for number in generator.integers(0, classes, rows)], dtype=object)
    every = generator.integers(0, gatherings, rows)
    kept, labels, counts = select_classes(names, every, folds)
    if counts["classes"] < 2:
        return
    units = every[kept]
    try:
        dealt = list(iter_fold_rows(labels, units, folds, seed))
    except UnscorableError:  # allowed only where a class has no unit with few further classes
        event("cannot be dealt")
        shared = {unit: len(set(labels[units == unit])) - 1 for unit in set(units)}
        assert any(min(shared[unit] for unit in units[labels == one]) >= folds - 1 for one in set(labels))
        return
    assert np.array_equal(np.sort(np.concatenate([test for _, test in dealt])), np.arange(len(labels)))
    for train, test in dealt:
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
        assert len(test)
        assert set(labels[train]) == set(labels)
        assert not set(units[train]) & set(units[test])


@pytest.mark.slow
@given(rows=st.integers(20, 80), seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 5))
@settings(max_examples=100, deadline=None)
def test_where_every_row_is_a_unit_the_folds_are_scikit_learn_s(rows, seed, folds):
    generator = np.random.default_rng(seed)
    labels = np.sort(generator.integers(0, 3, rows))
    labels = generator.permutation(np.unique(labels, return_inverse=True)[1])
    if min(np.bincount(labels)) < folds:
        return
    units = generator.permutation(10 * rows)[:rows]  # codes in no order
    due = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for (train, test), (other_train, other_test) in zip(iter_fold_rows(labels, units, folds, seed), due, strict=True):
        assert np.array_equal(train, other_train)
        assert np.array_equal(test, other_test)


def test_a_class_whose_units_all_contain_another_class_is_in_every_training_fold():
    """Each of the 5 units of class 1 begins with a row of class 0, by which it is dealt, so that all may meet."""
    labels = np.concatenate([np.tile([0, 1], 5), np.zeros(10, dtype=np.intp)])
    units = np.concatenate([np.repeat(np.arange(5), 2), np.arange(5, 15)])
    for seed in range(300):  # with 2 folds, one deal in eleven or so
        for train, _ in iter_fold_rows(labels, units, 2, seed):
            assert set(labels[train]) == {0, 1}


def test_units_that_cannot_be_assigned_to_folds_are_an_error():
    labels, units = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 0, 1, 1, 2, 2])  # a triangle has no two colours
    with pytest.raises(UnscorableError, match="1 of 3 classes would be held out whole by one of 2 folds"):
        list(iter_fold_rows(labels, units, 2, 0))


def test_a_constant_feature_does_no_harm(overlapping):
    features, labels = overlapping
    padded = np.hstack([features, np.full((75, 1), 3.0, dtype=np.float32)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = predict_out_of_fold(padded, labels, np.arange(len(labels)), Identify(), 89).dense()
    wanted = predict_out_of_fold(features, labels, np.arange(len(labels)), Identify(), 89).dense()
    assert np.abs(found - wanted).max() < 1e-5


def fold_of(probabilities, majority=0):
    """Predictions with these probabilities, from a probe that knows each row by a feature of its own."""
    wanted = np.maximum(np.array(probabilities, dtype=float), 1e-300)
    rows, width = np.arange(len(wanted)), len(wanted)
    logits = np.log(wanted[:, 1:] / wanted[:, :1]) if wanted.shape[1] == 2 else np.log(wanted)
    probe = LinearProbe(logits.T, np.zeros(logits.shape[1]), np.zeros(width), np.ones(width), True, 1)
    return FoldPredictions(0, rows, Probabilities(probe, np.eye(width, dtype=np.float32), rows), majority, True)


def test_macro_scores_are_those_of_a_confusion_counted_by_hand():
    # rows: truth 0 0 0 1 1 2, predicted 0 0 1 1 2 2
    truth = np.array([0, 0, 0, 1, 1, 2])
    fold = fold_of(
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.7, 0.2], [0.2, 0.3, 0.5], [0.0, 0.1, 0.9]]
    )
    scores = macro_scores(truth, fold)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["precision"] == pytest.approx((2 / 2 + 1 / 2 + 1 / 2) / 3)
    assert scores["recall"] == pytest.approx((2 / 3 + 1 / 2 + 1 / 1) / 3)
    assert scores["f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert scores["balanced_accuracy"] == pytest.approx(scores["recall"])
    assert scores["majority"] == pytest.approx(3 / 6)
    # pairs ordered rightly: class 0 all 9; class 1 of .3, .7 against .1, .3, .5, .1 with one tie; class 2 all 5
    assert scores["auroc"] == pytest.approx((1 + (2 + 0.5 + 4) / 8 + 1) / 3)


def test_macro_scores_leave_absent_classes_out_of_what_they_cannot_enter():
    scores = macro_scores(np.array([0, 0]), fold_of([[0.9, 0.1], [0.4, 0.6]]))
    assert "auroc" not in scores
    assert scores["balanced_accuracy"] == 0.5
    assert scores["recall"] == 0.5  # of class 0 alone


def test_binary_scores_are_those_of_a_confusion_counted_by_hand():
    # 3 true positives, 1 false negative, 2 false positives, 4 true negatives
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    positive = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.55, 0.4, 0.3, 0.1, 0.0])
    scores = binary_scores(truth, fold_of(np.stack([1 - positive, positive], axis=1)))
    assert scores["accuracy"] == pytest.approx(7 / 10)
    assert scores["precision"] == pytest.approx(3 / 5)
    assert scores["recall"] == pytest.approx(3 / 4)
    assert scores["f1"] == pytest.approx(6 / 9)
    assert scores["balanced_accuracy"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert scores["auroc"] == pytest.approx(roc_auc_score(truth, positive))
    assert scores["majority"] == pytest.approx(6 / 10)


def test_nothing_called_positive_gives_precision_zero_without_a_warning():
    scores = binary_scores(np.array([1, 0, 0]), fold_of([[0.9, 0.1]] * 3))
    assert scores["precision"] == scores["recall"] == scores["f1"] == 0.0
    assert scores["auroc"] == 0.5
