"""Three methods to detect wrong labels: confident learning, the plain out-of-fold probe, and the neighbours."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from herbray.neighbours.search import NearestRows
from herbray.tasks.interface.embeddings import Floats, Indices, Mask
from herbray.tasks.methods.confident import ProbabilityBlocks, Summary, find_issues, summarise


@dataclass(frozen=True, eq=False)
class Doubt:
    """Verdict of a method on each label.

    Attributes:
        flagged: [n] whether the method considers the label wrong.
        rank: [n] higher is more doubtful; orders all labels, flagged or not.
    """

    flagged: Mask
    rank: Floats


METHODS = {"": "confident learning", "oof_": "plain out-of-fold probe", "knn_": "disagreement of the neighbours"}
"""Prefix of the metrics of each method, and the name of the method."""


def doubt_by_method(given: Indices, probabilities: ProbabilityBlocks, near: NearestRows) -> dict[str, Doubt]:
    """The verdicts of all methods, by their prefix in `METHODS`.

    Args:
        given: [n] the labels, classes 0 to k-1.
        probabilities: out-of-fold probabilities of the n rows.
        near: the neighbours of all n rows.
    """
    summary = summarise(given, probabilities)
    methods = (
        confident_learning(given, probabilities, summary),
        probe_disagreement(given, summary),
        neighbour_disagreement(given, near),
    )
    return dict(zip(METHODS, methods, strict=True))


def confident_learning(given: Indices, probabilities: ProbabilityBlocks, summary: Summary) -> Doubt:
    """Confident learning, pruned by noise rate (Northcutt et al. 2021, doi 10.1613/jair.1.12125).

    Flagged labels rank first; within flagged and other labels, the lowest probability of the given label ranks first.
    """
    flagged = find_issues(given, probabilities, summary)
    return Doubt(flagged, flagged + 1.0 - summary.own)


def probe_disagreement(given: Indices, summary: Summary) -> Doubt:
    """Flag labels with which the out-of-fold probe disagrees; the lowest probability of the given label ranks first."""
    return Doubt(summary.predicted != given, 1.0 - summary.own)


def neighbour_disagreement(given: Indices, near: NearestRows) -> Doubt:
    """Flag labels that the nearest sheets outvote (edited nearest neighbours, Wilson 1972, with weights).

    Each neighbour votes with weight (1 + cosine) / 2. A label is flagged if another label has more votes; the rank is
    the share of votes that are not for the given label. A row without neighbours is not doubted.
    """
    row, place = np.nonzero(near.valid)
    classes = int(given.max()) + 1
    ballots, ballot = np.unique(row * classes + given[near.neighbours[row, place]], return_inverse=True)
    votes = np.bincount(ballot, (1.0 + near.cosine[row, place]) / 2.0, minlength=len(ballots))
    voter, label = np.divmod(ballots, classes)
    mine = label == given[voter]
    own, other, total = np.zeros((3, len(given)))
    own[voter[mine]] = votes[mine]
    np.maximum.at(other, voter[~mine], votes[~mine])
    np.add.at(total, voter, votes)
    share = 1.0 - np.divide(own, total, out=np.ones_like(own), where=total > 0)
    return Doubt(other > own, share)


def detection_scores(wrong: Mask, doubt: Doubt) -> dict[str, float]:
    """Scores of the detection of wrong labels.

    Args:
        wrong: [n] whether the label is wrong; true for some but not all rows.
        doubt: verdict on the same rows.

    Returns:
        `tpr` (share of wrong labels flagged), `fpr` (share of correct labels flagged), `precision` (share of flagged
        labels that are wrong; 0 if none is flagged); and for the ranking, `auroc` and `precision_at_n`, the share of
        wrong labels among the n most doubtful, where n is the number of wrong labels.
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
    return float(wrong[most_doubtful(doubt, n)].mean())


def most_doubtful(doubt: Doubt, n: int) -> Indices:
    """The rows [n] of the most doubtful labels; ties in the order of the rows."""
    return np.argsort(-doubt.rank, kind="stable")[:n]


def contributions(wrong: Mask, doubt: Doubt) -> dict[str, tuple[Floats, Floats]]:
    """Contribution of each specimen to `detection_scores`: metric → values and weights [n], with the metric as mean."""
    leading = np.zeros(len(wrong), dtype=bool)
    leading[most_doubtful(doubt, int(wrong.sum()))] = True
    flagged = doubt.flagged.astype(np.float64)
    return {
        "tpr": (flagged, wrong.astype(np.float64)),
        "fpr": (flagged, (~wrong).astype(np.float64)),
        "auroc": auroc_contributions(wrong, doubt.rank),
        "precision_at_n": (leading.astype(np.float64), wrong.astype(np.float64)),
    }


def auroc_contributions(positive: Mask, rank: Floats) -> tuple[Floats, Floats]:
    """Values [n] and weights [n] whose mean is the AUROC and has the same sampling variance.

    Let V be the placement value of a specimen (the share of the other class that is ranked on the correct side of it,
    ties counting half), and A the AUROC. The value is A + 2 (V - A), and each class has half of the weight: the
    variance of the mean is then the sum of the variances of both classes (DeLong et al. 1988, doi 10.2307/2531595). V
    of the positives alone would miss the variance due to the negatives.

    Args:
        positive: [n] true for some but not all rows.
        rank: [n] higher is more positive.
    """
    placement = np.where(positive, _share_below(rank, rank[~positive]), _share_below(-rank, -rank[positive]))
    whole = float(placement[positive].mean())
    return whole + 2.0 * (placement - whole), np.where(positive, 1.0 / positive.sum(), 1.0 / (~positive).sum())


def _share_below(rank: Floats, others: Floats) -> Floats:
    """Share of `others` below each rank, ties counting half: [n]."""
    others = np.sort(others)
    twice = np.searchsorted(others, rank, side="left") + np.searchsorted(others, rank, side="right")
    share: Floats = twice / (2.0 * len(others))
    return share
