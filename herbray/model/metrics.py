"""Validation metrics on features, independent of the objective."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from herbray.neighbours.search import Indices, find_all_nearest
from herbray.neighbours.voting import vote


def knn_accuracy(features: Tensor, labels: Tensor, k: int = 5, units: Tensor | None = None) -> float:
    """Compute the leave-one-out accuracy of a majority vote of the k nearest neighbours by cosine.

    Rows whose label occurs in a single unit cannot be classified correctly: they vote, but are not counted. Ties are
    broken by the data, not by the order of rows: among equally near neighbours, smaller labels come first; among labels
    with equally many votes, the label with the larger sum of similarities wins, then the smaller label.

    Args:
        features: Float [n, d], on any device.
        labels: Int [n].
        k: number of neighbours that vote; fewer if there are fewer rows.
        units: Int [n], e.g. the gathering: rows of the same unit are never neighbours. None: each row is its own unit.

    Returns:
        Share of the counted rows that are classified correctly, in [0, 1].

    Raises:
        ValueError: the shapes do not match, a feature is not finite, or no label occurs in two units.
    """
    units = torch.arange(len(features)) if units is None else units
    codes, counted = _check(features, labels, k, units)
    order = np.argsort(codes, kind="stable")  # equally near neighbours keep this order
    codes, counted = codes[order], counted[order]
    sorted_features = features[torch.from_numpy(order).to(features.device)]
    near = find_all_nearest(sorted_features, units.cpu().numpy()[order], k, np.flatnonzero(counted))
    return float((vote(near, codes) == codes[counted]).mean())


def standard_error(accuracy: float, count: int) -> float:
    """Compute the standard error of an accuracy over `count` independent specimens."""
    return math.sqrt(accuracy * (1 - accuracy) / count)


def _check(features: Tensor, labels: Tensor, k: int, units: Tensor) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Check the arguments; return labels as 0, 1, … [n], and the mask of counted rows [n]."""
    if features.ndim != 2 or not labels.shape == units.shape == features.shape[:1] or k < 1:
        raise ValueError(
            f"features {tuple(features.shape)}, labels {tuple(labels.shape)}, units {tuple(units.shape)}, k={k}: "
            "expected [n, d], [n], [n] and k ≥ 1"
        )
    bad = int((~torch.isfinite(features).all(dim=1)).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(features)} features hold NaN or infinity: the encoder diverged; lower optimizer.lr"
        )
    codes = np.unique(labels.cpu().numpy(), return_inverse=True)[1]
    units_of_each = np.bincount(np.unique(np.stack([codes, units.cpu().numpy()]), axis=1)[0])
    counted = units_of_each[codes] > 1
    if not counted.any():
        raise ValueError(
            f"none of the {len(units_of_each)} names has two gatherings to compare: raise validate_rows, or "
            "splits.validation"
        )
    return codes, counted
