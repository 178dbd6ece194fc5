"""Learning curves as small multiples."""

import math
import textwrap
from collections.abc import Sequence

import pyarrow as pa
from matplotlib.figure import Figure

from herbray.report.drawing import MOST_PANELS, WIDTH, Drawing, legend, percent, render
from herbray.report.scores import clean, list_series


def curves(table: pa.Table, name: str) -> Drawing | None:
    """Learning curves as small multiples: accuracies of all models together, then the losses, each on its own scale."""
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in table.select(["model", "metric", "epoch", "value"]).to_pylist():
        if math.isfinite(row["epoch"]) and math.isfinite(row["value"]):
            lines.setdefault((row["model"], row["metric"]), []).append((row["epoch"], row["value"]))
    series = {one.model: one for one in list_series({(model, "") for model, _ in lines})}
    panels = _curve_panels(lines, list(series))
    if not panels:
        return None
    last = 1.02 * max(epoch for line in lines.values() for epoch, _ in line) or 1.0
    columns = min(MOST_PANELS, max(3, len(panels)))
    rows = math.ceil(len(panels) / columns)

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 0.4 + 2.3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(panels))
        for axes, (title, keys) in zip(grid.flat, panels, strict=False):
            for model, metric in keys:
                epochs, values = _mean_line(lines[model, metric])
                dashed = "--" if metric.startswith("val") and "loss" in metric else "-"
                one = series[model]
                mark = one.marker if len(epochs) < 12 else ""
                axes.plot(epochs, values, dashed, color=one.colour, marker=mark, markersize=3.5, linewidth=1.6)
            axes.set_title(textwrap.fill(title, 20))
            axes.set_xlabel("epoch", fontsize=9)
            axes.set_xlim(0, last)
            axes.tick_params(length=0)
            if title.startswith("k-NN"):
                percent(axes)
        legend(figure, list(series.values()), None)
        return figure

    alt = f"Learning curves of {', '.join(one.label for one in series.values())}: {', '.join(t for t, _ in panels)}."
    caption = (
        "k-NN accuracy is the one figure that all objectives share. Losses do not compare across objectives; "
        "solid: training, dashed: validation. Several runs of one model are shown as their mean."
    )
    return render(paint, name, alt, caption)


def _mean_line(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Epochs and values; where several runs of a model tell the same epoch, their mean."""
    found: dict[float, list[float]] = {}
    for epoch, value in sorted(points):
        found.setdefault(epoch, []).append(value)
    return list(found), [math.fsum(values) / len(values) for values in found.values()]


def _curve_panels(
    lines: dict[tuple[str, str], list[tuple[float, float]]], models: Sequence[str]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """(title, lines) of each panel: k-NN accuracy of all models first, then a loss panel a model."""
    panels = []
    knn = [key for model in models for key in sorted(lines) if key[0] == model and "knn" in key[1]]
    if knn:
        panels.append(("k-NN genus accuracy", knn))
    for model in models:
        losses = [key for key in sorted(lines) if key[0] == model and key[1] in ("loss", "train_loss", "val_loss")]
        if losses:
            panels.append((f"loss of {clean(model, 24)}", losses))
    return panels
