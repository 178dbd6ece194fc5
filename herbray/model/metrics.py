"""What validation measures on features, whatever objective made them."""

import torch
from torch import Tensor
from torch.nn import functional

from herbray.model.neighbours import Best, parts

_STEPS = 10**6  # a cosine is told apart to a millionth: more would be the noise of the matrix product


@torch.no_grad()
def knn_accuracy(features: Tensor, labels: Tensor, k: int = 5, chunk: int = 1024, units: Tensor | None = None) -> float:
    """Leave-one-out accuracy of the k nearest neighbours by cosine, majority vote.

    Rows whose label occurs in one unit alone cannot be named rightly: they vote, but are not counted. Ties follow from
    the data, not from the order of rows: among equally near neighbours the smaller labels come first; among labels with
    equally many votes the nearer ones, summed, win, then the smaller label.

    Args:
        features: Float [n, d], on any device.
        labels: Int [n].
        k: neighbours that vote, fewer where there are fewer rows.
        chunk: rows compared with so many others at a time; memory beside the features is about 24 · chunk² bytes.
        units: Int [n], e.g. of the gathering: rows of one unit are no neighbours. None: each row by itself.

    Returns:
        Share of the counted rows in [0, 1].

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or no label of two units.
    """
    units = torch.arange(len(features)) if units is None else units
    codes, counted = _check(features, labels, k, units)
    points = functional.normalize(features.float(), dim=1)
    best = _nearest(points, codes, units.to(points.device), min(k, len(points) - 1), chunk)
    right = torch.cat([_vote(best[part], codes) == codes[part] for part in parts(len(points), chunk)])
    return int((right & counted).sum()) / int(counted.sum())


def _check(features: Tensor, labels: Tensor, k: int, units: Tensor) -> tuple[Tensor, Tensor]:
    """Labels as 0, 1, … [n], and which rows are counted [n]."""
    if features.ndim != 2 or not labels.shape == units.shape == features.shape[:1] or k < 1:
        raise ValueError(
            f"features {tuple(features.shape)}, labels {tuple(labels.shape)}, units {tuple(units.shape)}, k={k}: "
            "wanted [n, d], [n], [n] and k ≥ 1"
        )
    bad = int((~torch.isfinite(features).all(dim=1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(features)} features hold NaN or infinity: the encoder diverged")
    codes = torch.searchsorted(labels.unique(), labels).to(features.device)  # type: ignore[no-untyped-call]
    both = torch.stack([codes, units.to(codes.device)]).unique(dim=1)  # type: ignore[no-untyped-call]
    sizes = both[0].bincount()  # units of each label
    counted = sizes[codes] > 1
    if not counted.any():
        raise ValueError(f"none of the {len(sizes)} genera has two gatherings to compare: validate on more rows")
    return codes, counted


def _nearest(points: Tensor, codes: Tensor, units: Tensor, k: int, chunk: int) -> Tensor:
    """Keys of each row's k nearest rows of other units: Int64 [n, k], nearest first; −1 where there are fewer.

    One integer orders neighbours by cosine, then by label: what still ties has one label and votes alike.
    """
    labels = int(codes.max()) + 1
    best = Best(len(points), k, torch.int64, points.device)
    for there in parts(len(points), chunk):
        for here in parts(len(points), chunk):
            near = (points[here] @ points[there].T).clamp_(-1, 1).mul_(_STEPS).round_().long().add_(_STEPS)
            key = near.mul_(labels).add_(labels - 1 - codes[there])
            key.masked_fill_(units[here].unsqueeze(1) == units[there], -1)
            best.see(here, key, there.start)
    return best.values


def _vote(best: Tensor, codes: Tensor) -> Tensor:
    """Label [c] that neighbours with the keys `best` [c, k] give."""
    labels, k = int(codes.max()) + 1, best.shape[1]
    near, voter = best // labels, labels - 1 - best % labels
    valid = best >= 0
    alike = (voter.unsqueeze(2) == voter.unsqueeze(1)) & valid.unsqueeze(1)  # [c, k, k]
    votes, weight = alike.sum(dim=2), (alike * near.unsqueeze(1)).sum(dim=2)
    score = (votes * (2 * _STEPS * k + 1) + weight) * labels + (labels - 1 - voter)
    score = score.masked_fill(~valid, -1)
    winner: Tensor = voter.gather(1, score.argmax(dim=1, keepdim=True)).squeeze(1)
    return winner
