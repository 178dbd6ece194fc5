"""What validation measures on features, whatever objective made them."""

import torch
from torch import Tensor
from torch.nn import functional

_STEPS = 10**6  # a cosine is told apart to a millionth: more would be the noise of the matrix product


@torch.no_grad()
def knn_accuracy(features: Tensor, labels: Tensor, k: int = 5, chunk: int = 512) -> float:
    """Leave-one-out accuracy of the k nearest neighbours by cosine, majority vote.

    Rows whose label occurs once cannot be named rightly: they vote, but are not counted. Ties follow from the data,
    not from the order of rows: among equally near neighbours the smaller labels come first; among labels with equally
    many votes the nearer ones, summed, win, then the smaller label.

    Args:
        features: Float [n, d], on any device.
        labels: Int [n].
        k: neighbours that vote, fewer where there are fewer rows.
        chunk: rows compared with all others at a time; memory is about 12 · chunk · n bytes.

    Returns:
        Share of the counted rows in [0, 1].

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or no label that occurs twice.
    """
    codes, counted = _check(features, labels, k)
    points = functional.normalize(features.float(), dim=1)
    right = 0
    for start in range(0, len(points), chunk):
        rows = torch.arange(start, min(start + chunk, len(points)), device=points.device)
        voted = _vote(points, codes, rows, min(k, len(points) - 1))
        right += int(((voted == codes[rows]) & counted[rows]).sum())
    return right / int(counted.sum())


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


def _vote(points: Tensor, codes: Tensor, rows: Tensor, k: int) -> Tensor:
    """Label [c] that the k nearest other rows give each of `rows` [c]."""
    labels = int(codes.max()) + 1
    # One integer orders neighbours by cosine, then by label: what still ties has one label and votes alike.
    near = (points[rows] @ points.T).clamp_(-1, 1).mul_(_STEPS).round_().long().add_(_STEPS)
    key = near.mul_(labels).add_(labels - 1 - codes)
    key[torch.arange(len(rows), device=rows.device), rows] = -1
    best = key.topk(k, dim=1).values
    near, voter = best // labels, labels - 1 - best % labels
    alike = voter.unsqueeze(2) == voter.unsqueeze(1)  # [c, k, k]
    votes, weight = alike.sum(dim=2), (alike * near.unsqueeze(1)).sum(dim=2)
    score = (votes * (2 * _STEPS * k + 1) + weight) * labels + (labels - 1 - voter)
    winner: Tensor = voter.gather(1, score.argmax(dim=1, keepdim=True)).squeeze(1)
    return winner
