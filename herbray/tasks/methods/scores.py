"""Scores of a probe's predictions."""

import numpy as np
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from herbray.tasks.interface.embeddings import Indices
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
    predicted = fold.probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    entered = support > 0
    macro = {"precision": precision, "recall": recall, "f1": f1}
    scores = {name: values[entered].mean() for name, values in macro.items()}
    scores["balanced_accuracy"] = scores["recall"]
    one_hot = truth[:, None] == classes
    mixed = one_hot.any(axis=0) & ~one_hot.all(axis=0)
    if mixed.any():
        scores["auroc"] = roc_auc_score(one_hot[:, mixed], fold.probabilities[:, mixed], average="macro")
    return {**_common_scores(truth, fold), **{name: float(value) for name, value in scores.items()}}


def binary_scores(truth: Indices, fold: FoldPredictions) -> dict[str, float]:
    """Scores of one fold of a pair; class 1 is the positive class. Precision is 0 if no row is predicted positive.

    Args:
        truth: [m] 0 or 1; if only one class is present, there is no `auroc`, and `balanced_accuracy` is its recall.
        fold: predictions of the probe; probabilities [m, 2].

    Returns:
        As in `macro_scores`, but precision, recall and F1 are those of the positive class.
    """
    predicted = fold.probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, labels=[0, 1], zero_division=0)
    present = np.unique(truth)
    scores = {"precision": precision[1], "recall": recall[1], "f1": f1[1], "balanced_accuracy": recall[present].mean()}
    if len(present) == 2:
        scores["auroc"] = roc_auc_score(truth, fold.probabilities[:, 1])
    return {**_common_scores(truth, fold), **{name: float(value) for name, value in scores.items()}}


def _common_scores(truth: Indices, fold: FoldPredictions) -> dict[str, float]:
    return {
        "accuracy": float((fold.probabilities.argmax(axis=1) == truth).mean()),
        "majority": float((truth == fold.majority).mean()),
        "converged": float(fold.converged),
    }
