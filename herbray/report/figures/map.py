"""The map: the representations of the same specimens by every model, projected to two dimensions.

The paper uses UMAP (15 neighbours, minimum distance 0.1), fitted on the training split; the test splits are projected.
If umap-learn is not installed, the map shows the first two principal components, fitted in the same way.
"""

import hashlib
import importlib.util
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.lines
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from herbray.report.figures.drawing import MUTED, WIDTH, Drawing, render
from herbray.report.scores import split_name, split_order
from herbray.report.text import clean

Floats = npt.NDArray[np.float64]

MOST_POINTS = 3000
_FAMILIES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#A6A000", "#882255")
_OTHER = "#a0a1a2"
_MARKERS = {"train": ".", "validation": "_", "herbarium": "^", "species": "s", "random": "o", "unused": "x"}


@dataclass(frozen=True)
class _Points:
    """Specimens of one model; `fitted` marks those on which the projection is fitted."""

    features: Floats  # [n d]
    families: list[str]
    splits: list[str]
    fitted: npt.NDArray[np.bool_]


def draw_map(embeddings: Mapping[str, pa.Table], method: Literal["auto", "umap", "pca"], name: str) -> Drawing | None:
    """Draw one panel per model, with families as colours and splits as markers.

    Args:
        embeddings: name of an encoder → `schema.embedding_schema` table, in the order of the panels.
        method: "umap", "pca", or "auto" (UMAP if installed).
        name: unique on the page.

    Returns:
        The figure; None if no model has three specimens with finite features.

    Raises:
        ValueError: UMAP is requested but not installed.
    """
    available = importlib.util.find_spec("umap") is not None
    if method == "umap" and not available:
        raise ValueError("projection 'umap' needs umap-learn: `pip install herbray[umap]`, or choose 'pca' or 'auto'")
    points = {name: found for name, table in embeddings.items() if (found := _select_points(table)) is not None}
    if not points:
        return None
    umap = method == "umap" or (method == "auto" and available and min(p.fitted.sum() for p in points.values()) > 16)
    places = {model: (_project_umap if umap else _project_pca)(found) for model, found in points.items()}
    families = Counter(family for found in points.values() for family in found.families if family)
    top = [family for family, _ in sorted(families.items(), key=lambda item: (-item[1], item[0]))[: len(_FAMILIES)]]
    colours = dict(zip(top, _FAMILIES, strict=False))

    def paint() -> Figure:
        return _paint(points, places, colours)

    shown = ", ".join(map(clean, top)) or "family"
    alt = f"Two-dimensional map of {', '.join(map(clean, points))}, coloured by {shown}."
    return render(paint, name, alt, _caption(points, umap))


def _caption(points: Mapping[str, _Points], umap: bool) -> str:
    fitted = sorted({split for found in points.values() for split in np.array(found.splits)[found.fitted]})
    how = "UMAP (15 neighbours, minimum distance 0.1)" if umap else "First two principal components"
    count = max(len(found.splits) for found in points.values())
    return (
        f"{how}, fitted on {', '.join(map(split_name, fitted))}; other splits are projected. At most {count:,} "
        "specimens per panel, selected by their identifier; colours: the largest families. Axes have no unit"
        + ("; only neighbourhoods are meaningful, not distances." if umap else ".")
    )


def _select_points(table: pa.Table) -> _Points | None:
    """At most `MOST_POINTS` specimens, selected by identifier only, so that every model shows the same specimens."""
    column = table.column("embedding").combine_chunks()
    width = column.type.list_size
    features = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    ids = table.column("specimen_id").to_pylist()
    usable = np.flatnonzero(np.isfinite(features).all(axis=1))
    lots = {row: hashlib.sha256(ids[row].encode("utf-8", "replace")).digest() for row in usable.tolist()}
    rows = sorted(lots, key=lambda row: (lots[row], ids[row]))[:MOST_POINTS]
    if len(rows) < 3:
        return None
    families = [value or "" for value in table.column("family").take(rows).to_pylist()]
    splits = table.column("split").take(rows).to_pylist()
    sizes = Counter(splits)
    fit = "train" if sizes["train"] >= 3 else max(sizes, key=lambda split: (sizes[split], split))
    return _Points(features[rows].astype(np.float64), families, splits, np.array(splits) == fit)


def _project_pca(points: _Points) -> Floats:
    """First two principal components [n 2] of the `fitted` rows; the largest loading determines the sign."""
    base = points.features[points.fitted]
    centred = points.features - base.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(base, rowvar=False).reshape(base.shape[1], -1))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    places: Floats = centred @ axes
    return places if places.shape[1] == 2 else np.hstack([places, np.zeros_like(places)])


def _project_umap(points: _Points) -> Floats:
    """UMAP [n 2] with the settings of the paper, fitted on the `fitted` rows; other rows are projected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about compiler cache and threads, which users cannot act on
        import umap

        neighbours = min(15, int(points.fitted.sum()) - 1)
        mapper: Any = umap.UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=89, n_jobs=1)
        places = np.empty((len(points.splits), 2))
        places[points.fitted] = mapper.fit_transform(points.features[points.fitted])
        if not points.fitted.all():
            places[~points.fitted] = mapper.transform(points.features[~points.fitted])
    return places


def _paint(points: Mapping[str, _Points], places: Mapping[str, Floats], colours: Mapping[str, str]) -> Figure:
    columns = min(2, len(points))
    rows = math.ceil(len(points) / columns)
    figure = Figure(figsize=(WIDTH if columns == 2 else 6.5, 1.0 + 4.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        axes.set_visible(place < len(points))
    for axes, (model, found) in zip(grid.flat, points.items(), strict=False):
        _scatter(axes, found, places[model], colours)
        axes.set_title(clean(model, 56))
    splits = sorted({split for found in points.values() for split in found.splits}, key=split_order)
    other = any(family not in colours for found in points.values() for family in found.families)
    figure.legend(handles=_handles(colours, other, splits), loc="outside lower center", ncols=5, fontsize=9)
    return figure


def _scatter(axes: Axes, points: _Points, places: Floats, colours: Mapping[str, str]) -> None:
    """Draw points in random order within a split, with other and unknown families below the named families."""
    shades = np.array([colours.get(family, _OTHER) for family in points.families])
    for split in sorted(set(points.splits), key=split_order):
        inside = np.array(points.splits) == split
        for layer, mask in ((1, inside & (shades == _OTHER)), (2, inside & (shades != _OTHER))):
            axes.scatter(
                places[mask, 0],
                places[mask, 1],
                c=shades[mask],
                marker=_MARKERS.get(split, "o"),
                s=13 if split != "train" else 16,
                alpha=0.75,
                linewidths=0 if split not in ("validation", "unused") else 0.8,
                rasterized=True,
                zorder=layer,
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)


def _handles(colours: Mapping[str, str], other: bool, splits: Sequence[str]) -> list[matplotlib.lines.Line2D]:
    shown = [*colours.items(), *([("other or unknown", _OTHER)] if other else [])]
    style: dict[str, Any] = {"linestyle": "none", "markersize": 6}
    handles = [
        matplotlib.lines.Line2D([], [], marker="o", color=colour, label=clean(family, 28), **style)
        for family, colour in shown
    ]
    return handles + [
        matplotlib.lines.Line2D([], [], marker=_MARKERS.get(split, "o"), color=MUTED, label=split_name(split), **style)
        for split in splits
    ]
