"""Learning curves as small multiples."""

import math
import textwrap
from collections.abc import Sequence

import pyarrow as pa
from matplotlib.figure import Figure

from herbray.report.figures.drawing import MOST_PANELS, WIDTH, Drawing, add_legend, format_percent, render
from herbray.report.scores import Series
from herbray.report.text import clean


def draw_curves(table: pa.Table, name: str, series: Sequence[Series]) -> Drawing | None:
    """Draw learning curves: one panel with the accuracies of all encoders, then one panel of losses per model.

    Args:
        table: columns kind, metric, epoch (float), value.
        name: unique on the page.
        series: series of all kinds in the table, in order.
    """
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in table.select(["kind", "metric", "epoch", "value"]).to_pylist():
        if math.isfinite(row["epoch"]) and math.isfinite(row["value"]):
            lines.setdefault((row["kind"], row["metric"]), []).append((row["epoch"], row["value"]))
    drawn = {one.kind: one for one in series if any(kind == one.kind for kind, _ in lines)}
    panels = _curve_panels(lines, list(drawn.values()))
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
            for kind, metric in keys:
                epochs, values = mean_line(lines[kind, metric])
                dashed = "--" if metric.startswith("val") and "loss" in metric else "-"
                one = drawn[kind]
                style = {"color": one.colour, "marker": one.marker, "markersize": 3.5, "linewidth": 1.6}
                axes.plot(epochs, values, dashed, markevery=-(-len(epochs) // 12), **style)
            axes.set_title(textwrap.fill(title, 20))
            axes.set_xlabel("epoch", fontsize=9)
            axes.set_xlim(0, last)
            axes.tick_params(length=0)
            if title.startswith("k-NN"):
                format_percent(axes)
        add_legend(figure, list(drawn.values()), None)
        return figure

    alt = f"Learning curves of {', '.join(one.label for one in drawn.values())}: {', '.join(t for t, _ in panels)}."
    caption = (
        "k-NN accuracy is the only metric that all objectives share. Losses are not comparable across objectives; "
        "solid lines: training, dashed lines: validation. Runs that differ only in their seed are shown as their mean."
    )
    return render(paint, name, alt, caption)


def mean_line(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Epochs and values, averaged over runs that report the same epoch."""
    found: dict[float, list[float]] = {}
    for epoch, value in sorted(points):
        found.setdefault(epoch, []).append(value)
    return list(found), [math.fsum(values) / len(values) for values in found.values()]


def _curve_panels(
    lines: dict[tuple[str, str], list[tuple[float, float]]], series: Sequence[Series]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """(title, lines) of each panel: k-NN accuracy of all kinds, then the losses of each model."""
    panels = []
    keys = [(one.model, key) for one in series for key in sorted(lines) if key[0] == one.kind]
    knn = [key for _, key in keys if "knn" in key[1]]
    if knn:
        panels.append(("k-NN accuracy", knn))
    for model in dict.fromkeys(one.model for one in series):
        losses = [key for owner, key in keys if owner == model and key[1] in ("loss", "train_loss", "val_loss")]
        if losses:
            panels.append((f"loss of {clean(model, 24)}", losses))
    return panels
