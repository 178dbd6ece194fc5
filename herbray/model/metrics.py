"""What validation measures on features, whatever objective made them."""

import torch
from torch import Tensor
from torch.nn import functional

from herbray.model.neighbours import Best, parts

_STEPS = 10**6  # a cosine is told apart to a millionth: more would be the noise of the matrix product


@torch.no_grad()
def knn_accuracy(features: Tensor, labels: Tensor, k: int = 5, chunk: int = 1024) -> float:
    """Leave-one-out accuracy of the k nearest neighbours by cosine, majority vote.

    Rows whose label occurs once cannot be named rightly: they vote, but are not counted. Ties follow from the data,
    not from the order of rows: among equally near neighbours the smaller labels come first; among labels with equally
    many votes the nearer ones, summed, win, then the smaller label.

    Args:
        features: Float [n, d], on any device.
        labels: Int [n].
        k: neighbours that vote, fewer where there are fewer rows.
        chunk: rows compared with so many others at a time; memory beside the features is about 24 · chunk² bytes.

    Returns:
        Share of the counted rows in [0, 1].

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or no label that occurs twice.
    """
    codes, counted = _check(features, labels, k)
    points = functional.normalize(features.float(), dim=1)
    best = _nearest(points, codes, min(k, len(points) - 1), chunk)
    right = torch.cat([_vote(best[part], codes) == codes[part] for part in parts(len(points), chunk)])
    return int((right & counted).sum()) / int(counted.sum())


def _check(features: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Labels as 0, 1, … [n], and which rows are counted [n]."""
    if features.ndim != 2 or labels.shape != features.shape[:1] or k < 1:
        raise ValueError(
            f"features {tuple(features.shape)}, labels {tuple(labels.shape)}, k={k}: wanted [n, d], [n] and k ≥ 1"
        )
    bad = int((~torch.isfinite(features).all(dim=1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(features)} features hold NaN or infinity: the encoder diverged")
    codes = torch.searchsorted(labels.unique(), labels).to(features.device)  # type: ignore[no-untyped-call]
    sizes = codes.bincount()
    counted = sizes[codes] > 1
    if not counted.any():
        raise ValueError(f"none of the {len(sizes)} genera has two specimens to compare: validate on more rows")
    return codes, counted


def _nearest(points: Tensor, codes: Tensor, k: int, chunk: int) -> Tensor:
    """Keys of each row's k nearest other rows: Int64 [n, k], nearest first.

    One integer orders neighbours by cosine, then by label: what still ties has one label and votes alike.
    """
    labels = int(codes.max()) + 1
    best = Best(len(points), k, torch.int64, points.device)
    for there in parts(len(points), chunk):
        for here in parts(len(points), chunk):
            near = (points[here] @ points[there].T).clamp_(-1, 1).mul_(_STEPS).round_().long().add_(_STEPS)
            key = near.mul_(labels).add_(labels - 1 - codes[there])
            if here == there:
                key.fill_diagonal_(-1)
            best.see(here, key, there.start)
    return best.values


def _vote(best: Tensor, codes: Tensor) -> Tensor:
    """Label [c] that neighbours with the keys `best` [c, k] give."""
    labels, k = int(codes.max()) + 1, best.shape[1]
    near, voter = best // labels, labels - 1 - best % labels
    alike = voter.unsqueeze(2) == voter.unsqueeze(1)  # [c, k, k]
    votes, weight = alike.sum(dim=2), (alike * near.unsqueeze(1)).sum(dim=2)
    score = (votes * (2 * _STEPS * k + 1) + weight) * labels + (labels - 1 - voter)
    winner: Tensor = voter.gather(1, score.argmax(dim=1, keepdim=True)).squeeze(1)
    return winner
