"""Projection of features to two dimensions, for maps."""

import importlib.util
import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def project(
    features: npt.NDArray[np.floating[Any]], fitted: npt.NDArray[np.bool_], method: Literal["pca", "umap"]
) -> Floats:
    """Project features [n d] to places [n 2].

    Args:
        features: finite.
        fitted: the rows on which the projection is fitted; other rows are projected.
        method: "pca" or "umap", with the settings of the paper (15 neighbours, minimum distance 0.1).

    Raises:
        ValueError: UMAP is requested but not installed.
    """
    if method == "pca" or fitted.sum() < 3:
        return _project_pca(features, fitted)
    if not has_umap():
        raise ValueError("projection 'umap' needs umap-learn: `pip install herbray[umap]`, or choose 'pca'")
    return _project_umap(features, fitted)


def _project_pca(features: npt.NDArray[np.floating[Any]], fitted: npt.NDArray[np.bool_]) -> Floats:
    """First two principal components of the `fitted` rows; the largest loading determines the sign."""
    base = features[fitted].astype(np.float64)
    if len(base) < 2:
        return np.zeros((len(features), 2))
    _, axes = np.linalg.eigh(np.cov(base, rowvar=False).reshape(base.shape[1], -1))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    places: Floats = (features - base.mean(axis=0)) @ axes
    return places if places.shape[1] == 2 else np.hstack([places, np.zeros_like(places)])


def _project_umap(features: npt.NDArray[np.floating[Any]], fitted: npt.NDArray[np.bool_]) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about compiler cache and threads, which users cannot act on
        import umap

        neighbours = min(15, int(fitted.sum()) - 1)
        mapper: Any = umap.UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=89, n_jobs=1)
        places = np.empty((len(features), 2))
        places[fitted] = mapper.fit_transform(features[fitted])
        if not fitted.all():
            places[~fitted] = mapper.transform(features[~fitted])
    return places
