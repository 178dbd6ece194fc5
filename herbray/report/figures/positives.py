"""True-positive rate against false-positive rate: planted errors found, correct labels flagged."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from herbray.report.figures.drawing import DASHES, INK, MUTED, WIDTH, Drawing, add_legend, format_percent, render
from herbray.report.scores import Scores, split_name
from herbray.report.text import clean


def draw_positives(scores: Scores, task: str, tpr: str, fpr: str, titles: dict[str, str], name: str) -> Drawing | None:
    """Draw planted errors found against correct labels flagged: a faint point per draw, a large mark for the mean."""
    panels = [
        (split, level)
        for level in titles
        for split in scores.splits(task)
        if scores.shared_cell(task, split, level, tpr) and scores.shared_cell(task, split, level, fpr)
    ]
    if not panels:
        return None
    shown = panels[:6]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH * max(columns, 2) / 3, 0.7 + 3.3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(shown))
        for axes, (split, level) in zip(grid.flat, shown, strict=False):
            _paint_panel(axes, scores, task, split, level, tpr, fpr)
            axes.set_title(f"{clean(level, 40)}\n{split_name(split)}", fontsize=9.5)
        grid[0, 0].set_xlim(0, min(1.02, 1.2 * _highest_value(scores, task, shown, fpr) + 0.02))
        grid[0, 0].set_ylim(0, 1.02)
        figure.supxlabel("correct labels flagged (FPR)", fontsize=10, color=MUTED)
        figure.supylabel("planted errors found (TPR)", fontsize=10, color=MUTED)
        add_legend(figure, scores.series, "guessing")
        return figure

    alt = "True-positive rate against false-positive rate for planted label errors, one panel per pair and split."
    caption = (
        "True-positive rate against false-positive rate; the upper left is best. Faint points: one seeded draw of "
        "planted errors each; large marks: means, with bars of one standard deviation."
    )
    if len(panels) > len(shown):
        caption += f" The first {len(shown)} of {len(panels)} panels are drawn; the table shows all of them."
    return render(paint, name, alt, caption)


def _highest_value(scores: Scores, task: str, panels: Sequence[tuple[str, str]], metric: str) -> float:
    cells = (scores.cell(one, task, split, level, metric) for one in scores.series for split, level in panels)
    return max((max(cell.values) for cell in cells if cell), default=1.0)


def _paint_panel(axes: Axes, scores: Scores, task: str, split: str, level: str, tpr: str, fpr: str) -> None:
    axes.plot([0, 1], [0, 1], **DASHES, scalex=False, scaley=False)
    for one in scores.series:
        found, accused = (scores.cell(one, task, split, level, metric) for metric in (tpr, fpr))
        if found is None or accused is None:
            continue
        if len(found.values) == len(accused.values) > 1:
            axes.scatter(accused.values, found.values, s=20, c=one.colour, marker=one.marker, alpha=0.3, linewidths=0)
        axes.errorbar(
            accused.mean,
            found.mean,
            xerr=accused.sd,
            yerr=found.sd,
            fmt=one.marker,
            color=one.colour,
            markersize=8.5,
            markerfacecolor=one.colour,
            markeredgecolor=INK,
            markeredgewidth=0.9,
            elinewidth=1.5,
        )
    axes.grid(visible=True, axis="both")
    axes.tick_params(length=0, labelbottom=True, labelleft=True)
    format_percent(axes)
    format_percent(axes, "x")
