"""The map: the representations of the same specimens by every model, projected to two dimensions.

The paper uses UMAP (15 neighbours, minimum distance 0.1), fitted on the training split; the test splits are projected.
If umap-learn is not installed, the map shows the first two principal components, fitted in the same way.
"""

import hashlib
import math
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

from herbray.neighbours.projection import Floats, has_umap, project
from herbray.report.figures.drawing import MUTED, WIDTH, Drawing, render
from herbray.report.scores import split_name, split_order
from herbray.report.text import clean

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
    if method == "umap" and not has_umap():
        raise ValueError("projection 'umap' needs umap-learn: `pip install herbray[umap]`, or choose 'pca' or 'auto'")
    points = {name: found for name, table in embeddings.items() if (found := _select_points(table)) is not None}
    if not points:
        return None
    umap = method == "umap" or (method == "auto" and has_umap() and min(p.fitted.sum() for p in points.values()) > 16)
    chosen: Literal["pca", "umap"] = "umap" if umap else "pca"
    places = {model: project(found.features, found.fitted, chosen) for model, found in points.items()}
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
