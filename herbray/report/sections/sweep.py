"""Sweeps: the settings, epochs and scores of the trials."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.cm
import matplotlib.colors
import matplotlib.lines
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from herbray.report.content import SweepNote
from herbray.report.figures.drawing import INK, LINE, MOST_PANELS, MUTED, WIDTH, Drawing, format_percent, render
from herbray.report.text import clean
from herbray.schema import TRIAL

_SCALE = matplotlib.colors.LinearSegmentedColormap.from_list("score", ["#E69F00", "#B9B19A", "#0072B2"], N=9)
_MARKS = {"finished": "o", "stopped": "v", "failed": "x", "running": "x"}
_MOST_ROWS = 40
_MOST_PATHS = 8


@dataclass(frozen=True)
class Dimension:
    """One searched setting as an axis: the position of each trial, and the ticks.

    Attributes:
        path: dotted path of the setting.
        places: position of each trial; the logarithm if the range is logarithmic, the index of the name for choices.
        ticks: position and label.
        numeric: False for choices without an order.
    """

    path: str
    places: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]
    numeric: bool

    @property
    def short(self) -> str:
        """The last part of the path."""
        return clean(self.path.rsplit(".", 1)[-1], 24)


@dataclass(frozen=True)
class SweepSection:
    """One sweep as shown on the page."""

    title: str
    words: str
    paths: tuple[str, ...]
    rows: tuple[tuple[Mapping[str, Any], tuple[str, ...], bool], ...]
    beyond: int
    parallel: Drawing | None
    plane: Drawing | None


def sweep_section(note: SweepNote, name: str) -> SweepSection:
    """Make the section of one sweep; `name` prefixes the ids in its figures.

    Raises:
        ValueError: the table lacks a column.
    """
    missing = [column for column in TRIAL.names if column not in note.trials.column_names]
    if missing:
        raise ValueError(f"the trials of {note.title} lack the columns {', '.join(missing)}; see herbray.schema.TRIAL")
    paths = [column for column in note.trials.column_names if column not in TRIAL.names]
    rows = note.trials.to_pylist()
    scored = [row for row in rows if row["score"] is not None and math.isfinite(row["score"])]
    able = [row for row in scored if row["status"] in ("finished", "stopped")]
    leader = min(able, key=lambda row: (-row["score"], row["number"]), default=None)
    dimensions = [make_dimension(path, [row[path] for row in scored], path in note.logarithmic) for path in paths]
    dimensions = [one for one in dimensions if len(set(one.places)) > 1][:_MOST_PATHS]
    ranked = sorted(rows, key=lambda row: (-(row["score"] if row in able else -1.0), row["number"]))
    shown = [(row, tuple(_write_value(row[path]) for path in paths), row is leader) for row in ranked[:_MOST_ROWS]]
    drawn = len(scored) > 1 and dimensions
    return SweepSection(
        clean(note.title),
        _describe_trials(rows, leader, paths),
        tuple(clean(path) for path in paths),
        tuple(shown),
        len(rows) - len(shown),
        _draw_parallel(scored, dimensions, leader, f"{name}-parallel") if drawn else None,
        _draw_plane(scored, dimensions, leader, f"{name}-plane") if drawn else None,
    )


def _describe_trials(rows: Sequence[Mapping[str, Any]], leader: Mapping[str, Any] | None, paths: Sequence[str]) -> str:
    count = {status: sum(row["status"] == status for row in rows) for status in _MARKS}
    ended = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    if leader is None:
        return f"{len(rows)} trials ({ended}); none has a score."
    settings = ", ".join(f"{clean(path)} = {_write_value(leader[path])}" for path in paths)
    return (
        f"{len(rows)} trials ({ended}). Trial {leader['number']} scores highest, {100 * leader['score']:.1f}%, "
        f"with {settings}. The trial was chosen by this validation score, which is therefore optimistic."
    )


def make_dimension(path: str, values: Sequence[Any], logarithmic: bool) -> Dimension:
    """The axis of a searched setting, from the values of all trials."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        places = tuple(math.log10(value) if logarithmic else float(value) for value in values)
        ends = sorted({min(places, default=0.0), max(places, default=0.0)})
        return Dimension(
            path, places, tuple((end, _write_value(10**end if logarithmic else end)) for end in ends), True
        )
    names = sorted({_write_value(value) for value in values})
    places = tuple(float(names.index(_write_value(value))) for value in values)
    return Dimension(path, places, tuple((float(i), clean(name, 16)) for i, name in enumerate(names)), False)


def _draw_parallel(
    rows: Sequence[Mapping[str, Any]], dimensions: Sequence[Dimension], leader: Mapping[str, Any] | None, name: str
) -> Drawing:
    """Draw parallel coordinates: one line per trial through its settings to its score."""
    score = tuple(row["score"] for row in rows)
    ends = sorted({min(score), max(score)})
    axes_of = [*dimensions, Dimension("score", score, tuple((end, f"{100 * end:.1f}%") for end in ends), True)]
    heights = [scale_to_unit(one.places) for one in axes_of]
    norm = _colour_norm(score)

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        for i, row in sorted(enumerate(rows), key=lambda pair: pair[1]["score"]):
            best = row is leader
            line: Any = "-" if best or row["status"] == "finished" else (0, (4, 2))
            ys = [height[i] for height in heights]
            if best:
                axes.plot(range(len(ys)), ys, "-", color=INK, linewidth=4.2, solid_joinstyle="round")
            axes.plot(
                range(len(ys)), ys, linestyle=line, color=_SCALE(norm(row["score"])), linewidth=2.4 if best else 1.6
            )
        _paint_axes(axes, axes_of)
        _add_score_bar(figure, axes, norm)
        _add_status_legend(figure, rows, lines=True)
        return figure

    alt = f"Parallel coordinates of {len(rows)} trials over {', '.join(one.path for one in dimensions)} and the score."
    caption = (
        "One line per trial, from its settings to its k-NN accuracy on the validation split, which also sets "
        "the colour; the best trial is outlined. Dashed: stopped early, and therefore scored after fewer epochs."
    )
    return render(paint, name, clean(alt, 400), caption)


def _paint_axes(axes: Axes, dimensions: Sequence[Dimension]) -> None:
    """Draw one vertical line per setting, with its values."""
    axes.set_xlim(-0.25, len(dimensions) - 0.75)
    axes.set_ylim(-0.14, 1.1)
    axes.set_xticks(range(len(dimensions)), [clean(one.path, 32) for one in dimensions])
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for x, one in enumerate(dimensions):
        axes.plot([x, x], [0, 1], color=LINE, linewidth=1, zorder=0.5)
        heights = scale_to_unit([place for place, _ in one.ticks], one.places)
        for (_, label), height in zip(one.ticks, heights, strict=True):
            shift = (0, 9) if height == 1 else (0, -9) if height == 0 else (6, 0)
            centred = "left" if shift[0] else "center"
            axes.annotate(
                label,
                (x, height),
                shift,
                textcoords="offset points",
                ha=centred,
                va="center",
                fontsize=8.5,
                color=MUTED,
            )


def _draw_plane(
    rows: Sequence[Mapping[str, Any]], dimensions: Sequence[Dimension], leader: Mapping[str, Any] | None, name: str
) -> Drawing:
    """Plot settings against each other with the score as colour, or a single setting against the score."""
    score = Dimension("score", tuple(row["score"] for row in rows), (), True)
    pairs = list(itertools.combinations(dimensions, 2))[:MOST_PANELS] or [(dimensions[0], score)]
    norm = _colour_norm(score.places)

    def paint() -> Figure:
        columns = min(2, len(pairs))
        down = math.ceil(len(pairs) / columns)
        figure = Figure(figsize=(WIDTH * (1 if columns > 1 else 0.72), 0.5 + 3.5 * down), layout="constrained")
        grid = figure.subplots(down, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(pairs))
        for axes, (across, up) in zip(grid.flat, pairs, strict=False):
            for i, row in enumerate(rows):
                at = across.places[i], up.places[i]
                if row is leader:
                    axes.plot(*at, "o", markersize=17, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.4)
                axes.plot(
                    *at, _MARKS[row["status"]], color=_SCALE(norm(row["score"])), markersize=9, markeredgewidth=1.6
                )
                if len(rows) <= 24:
                    text = f"{100 * row['score']:.0f}"
                    axes.annotate(text, at, (0, -15), textcoords="offset points", ha="center", fontsize=8, color=MUTED)
            _format_axis(axes, across, "x")
            _format_axis(axes, up, "y")
            axes.grid(visible=True, axis="both")
            axes.margins(0.12, 0.18)
        _add_score_bar(figure, [*grid.flat], norm)
        _add_status_legend(figure, rows, lines=False)
        return figure

    named = "; ".join(f"{across.path} and {up.path}" for across, up in pairs)
    caption = (
        "Each mark is a trial at its settings, with its score in per cent and as colour; the best trial is ringed. If "
        "the best trial is at the edge of a panel, search a wider range."
    )
    return render(paint, name, clean(f"Scores of {len(rows)} trials by {named}.", 400), caption)


def _format_axis(axes: Axes, one: Dimension, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    label = axes.set_xlabel if which == "x" else axes.set_ylabel
    label(clean(one.path, 40), fontsize=9)
    axis.set_tick_params(length=0)
    if one.path == "score":
        format_percent(axes, which)
    elif not one.numeric:
        axis.set_ticks([place for place, _ in one.ticks], [text for _, text in one.ticks])
    elif any(place < 0 or text != _write_value(place) for place, text in one.ticks):  # logarithmic: label round numbers
        low, high = min(one.places), max(one.places)
        steps = (1, 2, 5) if high - low < 1.5 else (1, 3) if high - low < 3 else (1,)
        rounds = [step * 10.0**e for e in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
        fitting = [value for value in rounds if low - 0.1 <= math.log10(value) <= high + 0.1]
        axis.set_ticks([math.log10(value) for value in fitting], [f"{value:g}" for value in fitting])


def _add_score_bar(figure: Figure, axes: Axes | list[Axes], norm: matplotlib.colors.Normalize) -> None:
    bar = figure.colorbar(matplotlib.cm.ScalarMappable(norm, _SCALE), ax=axes, pad=0.02, aspect=28, fraction=0.05)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=MUTED)
    bar.set_label("k-NN accuracy", fontsize=9, color=MUTED)


def _add_status_legend(figure: Figure, rows: Sequence[Mapping[str, Any]], lines: bool) -> None:
    kinds = [status for status in _MARKS if any(row["status"] == status for row in rows)]
    handles = [
        matplotlib.lines.Line2D(
            [],
            [],
            color=MUTED,
            marker="" if lines else _MARKS[kind],
            linestyle=("-" if kind == "finished" else (0, (4, 2))) if lines else "none",
            label="stopped early" if kind == "stopped" else kind,
        )
        for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handletextpad=0.5)


def _colour_norm(scores: Sequence[float]) -> matplotlib.colors.Normalize:
    low, high = min(scores), max(scores)
    return matplotlib.colors.Normalize(low, high if high > low else low + 0.01)


def scale_to_unit(places: Sequence[float], among: Sequence[float] | None = None) -> list[float]:
    """Scale positions to 0 (lowest) to 1 (highest); 0.5 if all are equal."""
    low, high = min(among or places), max(among or places)
    return [(place - low) / (high - low) if high > low else 0.5 for place in places]


def _write_value(value: Any) -> str:  # noqa: ANN401  (settings are of any kind)
    return f"{value:.4g}" if isinstance(value, float) else clean("–" if value is None else value, 40)


def logarithmic_paths(space: Mapping[str, object]) -> frozenset[str]:
    """Paths of settings with the range `loguniform(…)`."""
    return frozenset(path for path, given in space.items() if str(given).startswith("loguniform"))
