"""Three ways to doubt a label, scored alike: confident learning, the plain out-of-fold probe, and the neighbours."""

from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from sklearn.metrics import roc_auc_score

from herbray.neighbours.search import NearestRows
from herbray.tasks.base import Floats, Indices, Mask


@dataclass(frozen=True, eq=False)
class Doubt:
    """What a method says of each label.

    Attributes:
        flagged: [n] held for wrong.
        rank: [n] the higher, the more doubtful; orders all labels, flagged or not.
    """

    flagged: Mask
    rank: Floats


METHODS = {"": "confident learning", "oof_": "plain out-of-fold probe", "knn_": "disagreement of the neighbours"}
"""Prefix of each method's metrics, and its name."""


def every_doubt(given: Indices, probabilities: Floats, near: NearestRows) -> dict[str, Doubt]:
    """All methods, by their prefix in `METHODS`.

    Args:
        given: [n] the labels, classes 0 to k-1.
        probabilities: [n, k] out of fold.
        near: the neighbours of all n rows.
    """
    methods = (confident(given, probabilities), plain(given, probabilities), disagreement(given, near))
    return dict(zip(METHODS, methods, strict=True))


def confident(given: Indices, probabilities: Floats) -> Doubt:
    """Confident learning, pruned by noise rate (Northcutt et al. 2021, doi 10.1613/jair.1.12125).

    Flagged labels come first, and within flagged and others the probability of the given label, lowest first.
    """
    flagged: Mask = find_label_issues(given, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    return Doubt(flagged, flagged + 1.0 - _confidence(given, probabilities))


def plain(given: Indices, probabilities: Floats) -> Doubt:
    """The probe that has not seen the specimen says otherwise; ranked by self-confidence, lowest first."""
    return Doubt(probabilities.argmax(axis=1) != given, 1.0 - _confidence(given, probabilities))


def disagreement(given: Indices, near: NearestRows) -> Doubt:
    """The nearest sheets bear another label (Wilson 1972's edited nearest neighbours, with weights).

    Each neighbour votes with weight (1 + cosine) / 2. Flagged where another label has more votes than the given one;
    ranked by the share of votes that are not for the given one. A row without neighbours is not doubted.
    """
    voters = np.where(near.valid, given[near.neighbours], -1)
    weight = np.where(near.valid, (1.0 + near.cosine) / 2.0, 0.0)
    votes = np.zeros((len(given), int(given.max()) + 1))
    for column in range(voters.shape[1]):
        np.add.at(votes, (np.arange(len(given)), np.maximum(voters[:, column], 0)), weight[:, column])
    every = np.arange(len(given))
    own, total = votes[every, given], votes.sum(axis=1)
    share = 1.0 - np.divide(own, total, out=np.ones_like(own), where=total > 0)
    return Doubt(votes.max(axis=1) > own, share)


def detection_scores(wrong: Mask, doubt: Doubt) -> dict[str, float]:
    """How well wrong labels are found.

    Args:
        wrong: [n] rows whose label is wrong, some but not all.
        doubt: of the same rows.

    Returns:
        `tpr` (share of wrong labels flagged), `fpr` (share of right labels flagged), `precision` (share of the
        flagged that is wrong; 0 where nothing is flagged); and of the ranking, `auroc` and `precision_at_n`: the share
        of wrong labels among the n most doubtful, n being the number of wrong ones.
    """
    hits = float((wrong & doubt.flagged).sum())
    return {
        "tpr": hits / float(wrong.sum()),
        "fpr": float((~wrong & doubt.flagged).sum()) / float((~wrong).sum()),
        "precision": hits / max(1.0, float(doubt.flagged.sum())),
        "auroc": float(roc_auc_score(wrong, doubt.rank)),
        "precision_at_n": precision_at(wrong, doubt, int(wrong.sum())),
    }


def precision_at(wrong: Mask, doubt: Doubt, n: int) -> float:
    """Share of wrong labels among the `n` most doubtful; ties in the order of the rows."""
    return float(wrong[first(doubt, n)].mean())


def first(doubt: Doubt, n: int) -> Indices:
    """The rows [n] of the most doubtful labels; ties in the order of the rows."""
    return np.argsort(-doubt.rank, kind="stable")[:n]


def contributions(wrong: Mask, doubt: Doubt) -> dict[str, tuple[Floats, Floats]]:
    """Each specimen's part in `detection_scores`: metric → values [n] and weights [n], whose mean is the metric."""
    leading = np.zeros(len(wrong), dtype=bool)
    leading[first(doubt, int(wrong.sum()))] = True
    flagged = doubt.flagged.astype(np.float64)
    return {
        "tpr": (flagged, wrong.astype(np.float64)),
        "fpr": (flagged, (~wrong).astype(np.float64)),
        "auroc": area(wrong, doubt.rank),
        "precision_at_n": (leading.astype(np.float64), wrong.astype(np.float64)),
    }


def area(positive: Mask, rank: Floats) -> tuple[Floats, Floats]:
    """The AUROC taken apart: values [n] and weights [n] whose mean is it, and varies as it does among specimens.

    With V a specimen's placement value, the share of the other kind on the right side of it, ties half, and A the
    AUROC, the value is A + 2 (V - A), each kind weighing half: the variance of the mean is then the sum of both kinds'
    own (DeLong et al. 1988, doi 10.2307/2531595). The positives' V alone would leave out what the negatives add.

    Args:
        positive: [n], some but not all.
        rank: [n] the higher, the more positive.
    """
    placement = np.where(positive, _below(rank, rank[~positive]), _below(-rank, -rank[positive]))
    whole = float(placement[positive].mean())
    return whole + 2.0 * (placement - whole), np.where(positive, 1.0 / positive.sum(), 1.0 / (~positive).sum())


def _below(rank: Floats, others: Floats) -> Floats:
    """Share of the others that lie below each, ties half: [n]."""
    others = np.sort(others)
    twice = np.searchsorted(others, rank, side="left") + np.searchsorted(others, rank, side="right")
    share: Floats = twice / (2.0 * len(others))
    return share


def _confidence(given: Indices, probabilities: Floats) -> Floats:
    confidence: Floats = probabilities[np.arange(len(given)), given]
    return confidence
