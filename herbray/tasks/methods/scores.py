"""Scores of a probe's predictions."""

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from herbray.probes.linear import Probabilities
from herbray.tasks.interface.embeddings import Floats, Indices
from herbray.tasks.methods.probe import FoldPredictions


def macro_scores(truth: Indices, fold: FoldPredictions) -> dict[str, float]:
    """Scores of one fold over k equally weighted classes; a class that is never predicted has precision 0.

    Classes without a row enter no mean: because gatherings are kept together, a fold may lack rows of a small class.

    Args:
        truth: [m] true classes of the held-out rows.
        fold: predictions of the probe for these rows.

    Returns:
        `accuracy`; macro `precision`, `recall`, `f1`; `balanced_accuracy`, another name of macro recall; `auroc`, the
        mean over classes of one class versus the rest; `majority`, the accuracy of always predicting the most frequent
        training class; `converged`, 1 or 0.
    """
    classes = np.arange(fold.probabilities.shape[1])
    predicted = fold.probabilities.predict()
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    entered = support > 0
    macro = {"precision": precision, "recall": recall, "f1": f1}
    scores = {name: values[entered].mean() for name, values in macro.items()}
    scores["balanced_accuracy"] = scores["recall"]
    if len(areas := _class_areas(truth, fold.probabilities)):
        scores["auroc"] = areas.mean()
    return {**_common_scores(truth, predicted, fold), **{name: float(value) for name, value in scores.items()}}


def _class_areas(truth: Indices, probabilities: Probabilities) -> Floats:
    """Area under the ROC curve of each class that some but not all rows have, versus the rest."""
    sizes = np.bincount(truth, minlength=probabilities.shape[1])
    mixed = (sizes > 0) & (sizes < len(truth))
    found = [np.empty(0)]
    for part, block in probabilities.by_classes() if mixed.any() else ():
        chosen = np.flatnonzero(mixed[part])
        own = truth[:, None] == chosen + part.start
        few = sizes[part][chosen]
        ranks = np.where(own, rankdata(block[:, chosen], axis=0), 0.0).sum(axis=0)
        found.append((ranks - few * (few + 1) / 2) / (few * (len(truth) - few)))
    return np.concatenate(found)


def binary_scores(truth: Indices, fold: FoldPredictions) -> dict[str, float]:
    """Scores of one fold of a pair; class 1 is the positive class. Precision is 0 if no row is predicted positive.

    Args:
        truth: [m] 0 or 1; if only one class is present, there is no `auroc`, and `balanced_accuracy` is its recall.
        fold: predictions of the probe; probabilities [m, 2].

    Returns:
        As in `macro_scores`, but precision, recall and F1 are those of the positive class.
    """
    positive = fold.probabilities.dense()
    predicted = positive.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, labels=[0, 1], zero_division=0)
    present = np.unique(truth)
    scores = {"precision": precision[1], "recall": recall[1], "f1": f1[1], "balanced_accuracy": recall[present].mean()}
    if len(present) == 2:
        scores["auroc"] = roc_auc_score(truth, positive[:, 1])
    return {**_common_scores(truth, predicted, fold), **{name: float(value) for name, value in scores.items()}}


def _common_scores(truth: Indices, predicted: Indices, fold: FoldPredictions) -> dict[str, float]:
    return {
        "accuracy": float((predicted == truth).mean()),
        "majority": float((truth == fold.majority).mean()),
        "converged": float(fold.converged),
    }
