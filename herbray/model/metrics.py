"""What validation measures on features, whatever objective made them."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from herbray.neighbours.search import Indices, all_nearest, vote


def knn_accuracy(features: Tensor, labels: Tensor, k: int = 5, units: Tensor | None = None) -> float:
    """Leave-one-out accuracy of the k nearest neighbours by cosine, majority vote.

    Rows whose label occurs in one unit alone cannot be named rightly: they vote, but are not counted. Ties follow from
    the data, not from the order of rows: among equally near neighbours the smaller labels come first; among labels with
    equally many votes the nearer ones, summed, win, then the smaller label.

    Args:
        features: Float [n, d], on any device.
        labels: Int [n].
        k: neighbours that vote, fewer where there are fewer rows.
        units: Int [n], e.g. of the gathering: rows of one unit are no neighbours. None: each row by itself.

    Returns:
        Share of the counted rows in [0, 1].

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or no label of two units.
    """
    units = torch.arange(len(features)) if units is None else units
    codes, counted = _check(features, labels, k, units)
    order = np.argsort(codes, kind="stable")  # equally near rows come in this order
    codes, counted = codes[order], counted[order]
    sorted_features = features[torch.from_numpy(order).to(features.device)]
    near = all_nearest(sorted_features, units.cpu().numpy()[order], k, np.flatnonzero(counted))
    return float((vote(near, codes) == codes[counted]).mean())


def _check(features: Tensor, labels: Tensor, k: int, units: Tensor) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Labels as 0, 1, … [n], and which rows are counted [n]."""
    if features.ndim != 2 or not labels.shape == units.shape == features.shape[:1] or k < 1:
        raise ValueError(
            f"features {tuple(features.shape)}, labels {tuple(labels.shape)}, units {tuple(units.shape)}, k={k}: "
            "wanted [n, d], [n], [n] and k ≥ 1"
        )
    bad = int((~torch.isfinite(features).all(dim=1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(features)} features hold NaN or infinity: the encoder diverged")
    codes = np.unique(labels.cpu().numpy(), return_inverse=True)[1]
    units_of_each = np.bincount(np.unique(np.stack([codes, units.cpu().numpy()]), axis=1)[0])
    counted = units_of_each[codes] > 1
    if not counted.any():
        raise ValueError(
            f"none of the {len(units_of_each)} genera has two gatherings to compare: validate on more rows"
        )
    return codes, counted
