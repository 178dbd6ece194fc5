"""Dot plots with intervals: the mean of every series, and the score of guessing."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from herbray.report.figures.drawing import DASHES, MOST_PANELS, WIDTH, Drawing, add_legend, format_percent, render
from herbray.report.scores import Cell, Scores, Series, split_name
from herbray.report.text import clean

Floors = dict[str, str | float]


@dataclass(frozen=True)
class _Panel:
    """One metric at several stops along the axis, each a (label, split, level)."""

    title: str
    metric: str
    label: str
    stops: tuple[tuple[str, str, str], ...]


def draw_dots(
    scores: Scores, task: str, metrics: Sequence[tuple[str, str]], titles: dict[str, str], name: str, floors: Floors
) -> Drawing | None:
    """Draw the mean and standard deviation of each series.

    With several splits: one column of panels per level, one row per metric, with splits along the axis. With one split:
    one panel per metric, with levels along the axis.

    Args:
        scores: the results.
        task: name of the task.
        metrics: (metric, label) of each row.
        titles: title of each level, in order.
        name: unique on the page.
        floors: score of guessing, by metric: the name of a metric, or a constant.

    Returns:
        The figure; None if there is nothing to draw.
    """
    levels, splits = list(titles)[:MOST_PANELS], scores.splits(task)
    if not (levels and metrics):
        return None
    rows = (
        _panels_by_level(splits, levels, metrics, titles)
        if len(splits) > 1
        else _panels_by_metric(splits[0], levels, metrics)
    )
    stops = [(split, level, panel.metric) for row in rows for panel in row for _, split, level in panel.stops]
    series = [one for one in scores.series if any(scores.cell(one, task, *stop) for stop in stops)]
    if not series:
        return None

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 0.7 + (2.5 if len(rows) > 1 else 3.0) * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, sharey="row", sharex=True)
        for row, panels in zip(grid, rows, strict=True):
            for axes, panel in zip(row, panels, strict=True):
                _paint_panel(axes, scores, series, task, panel, floors.get(panel.metric))
            row[0].set_ylabel(panels[0].label)
            _set_limits(row[0], floors.get(panels[0].metric))
        add_legend(figure, series, "guessing" if floors else None)
        return figure

    shown = ", ".join(label for _, label in metrics)
    alt = f"{shown} of {', '.join(one.label for one in series)}, by {', '.join(map(clean, levels))} and split."
    caption = "Dots: mean over folds and training seeds; bars: one standard deviation. Dashes: score of guessing."
    if len(titles) > MOST_PANELS:
        caption += f" The first {MOST_PANELS} of {len(titles)} levels are drawn; the table shows all of them."
    return render(paint, name, alt, caption)


def _panels_by_level(
    splits: Sequence[str], levels: Sequence[str], metrics: Sequence[tuple[str, str]], titles: dict[str, str]
) -> list[list[_Panel]]:
    names = [split_name(split) for split in splits]
    if len(splits) * len(levels) > 9:  # only the letters, so that labels do not overlap
        names = [text.split(" (")[0] for text in names]
    return [
        [
            _Panel(
                clean(titles[level], 44) if row == 0 else "",
                metric,
                label,
                tuple((text, split, level) for text, split in zip(names, splits, strict=True)),
            )
            for level in levels
        ]
        for row, (metric, label) in enumerate(metrics)
    ]


def _panels_by_metric(split: str, levels: Sequence[str], metrics: Sequence[tuple[str, str]]) -> list[list[_Panel]]:
    stops = tuple((clean(level, 30).replace("–", "–\n"), split, level) for level in levels)
    return [[_Panel(f"{label} on {split_name(split)}", metric, "", stops) for metric, label in metrics]]


def _paint_panel(
    axes: Axes, scores: Scores, series: Sequence[Series], task: str, panel: _Panel, floor: str | float | None
) -> None:
    step = min(0.17, 0.7 / len(series))
    for place, one in enumerate(series):
        cells = [scores.cell(one, task, split, level, panel.metric) for _, split, level in panel.stops]
        shift = (place - (len(series) - 1) / 2) * step
        _paint_dots(axes, [(column + shift, cell) for column, cell in enumerate(cells) if cell is not None], one)
    for column, (_, split, level) in enumerate(panel.stops):
        guess = scores.shared_cell(task, split, level, floor) if isinstance(floor, str) else None
        height = guess.mean if guess else floor
        if isinstance(height, float):
            axes.plot([column - 0.42, column + 0.42], [height, height], **DASHES)
    axes.set_title(panel.title)
    axes.set_xticks(range(len(panel.stops)), [label for label, *_ in panel.stops])
    axes.set_xlim(-0.6, len(panel.stops) - 0.4)
    axes.tick_params(length=0)
    format_percent(axes)


def _paint_dots(axes: Axes, cells: Sequence[tuple[float, Cell]], one: Series) -> None:
    x, means = [x for x, _ in cells], [cell.mean for _, cell in cells]
    intervals = [
        cell.sd if cell.sd is not None else 0.0 for _, cell in cells
    ]  # without an interval, the dot hides the bar
    style = {"fmt": one.marker, "color": one.colour, "markersize": 6.5, "markeredgewidth": 0, "elinewidth": 1.6}
    axes.errorbar(x, means, yerr=intervals, **style)  # type: ignore[arg-type]


def _set_limits(axes: Axes, floor: str | float | None) -> None:
    """Start the axis at zero, or just below a constant chance level; end it slightly above the highest mark."""
    low, high = axes.get_ylim()
    bottom = max(0.0, min(low, floor - 0.05)) if isinstance(floor, float) else 0.0
    axes.set_ylim(bottom, min(1.03, high))
