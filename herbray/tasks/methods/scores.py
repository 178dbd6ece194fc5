"""Scores of a probe's predictions."""

import numpy as np
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from herbray.tasks.embeddings import Indices
from herbray.tasks.methods.probe import FoldPredictions


def macro_scores(truth: Indices, fold: FoldPredictions, present_only: bool = False) -> dict[str, float]:
    """Scores of one fold over k classes that count alike; a class never predicted has precision 0.

    Args:
        truth: [m] classes of the fold's rows.
        fold: the probe's probabilities for them.
        present_only: leave classes without a row out of every mean, in place of counting their recall as 0: where
            gatherings are kept together, a fold may hold none of a small class.

    Returns:
        `accuracy`; macro `precision`, `recall`, `f1`; `balanced_accuracy`, which equals macro recall where every class
        is present; `auroc`, macro over one class versus the rest; `majority`, the accuracy of always naming
        the most frequent training class; `converged`, 1 or 0.
    """
    classes = np.arange(fold.probabilities.shape[1])
    predicted = fold.probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    entered = support > 0 if present_only else np.ones(len(classes), dtype=bool)
    macro = {"precision": precision, "recall": recall, "f1": f1}
    scores = {name: values[entered].mean() for name, values in macro.items()}
    scores["balanced_accuracy"] = recall[support > 0].mean()
    one_hot = truth[:, None] == classes
    mixed = one_hot.any(axis=0) & ~one_hot.all(axis=0)
    if mixed.any():
        scores["auroc"] = roc_auc_score(one_hot[:, mixed], fold.probabilities[:, mixed], average="macro")
    return {**_common_scores(truth, fold), **{name: float(value) for name, value in scores.items()}}


def binary_scores(truth: Indices, fold: FoldPredictions) -> dict[str, float]:
    """Scores of one fold of a pair, class 1 the positive one; nothing predicted positive gives precision 0.

    Args:
        truth: [m] of 0 and 1; if just one is present, there is no `auroc`, and `balanced_accuracy` is its recall.
        fold: the probe's probabilities [m, 2].

    Returns:
        As `macro_scores`, with precision, recall and F1 those of the positive class.
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
