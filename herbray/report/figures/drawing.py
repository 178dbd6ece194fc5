"""Matplotlib figures as inline SVG: the same bytes for the same input, text as text, colours that follow the page."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import matplotlib
import matplotlib.lines
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from herbray import storage
from herbray.report.scores import Series

WIDTH = 10.4
"""Width in inches of a figure that fills the column of the page; the page scales it."""

MOST_PANELS = 4
"""Maximum number of columns of a figure; tables show everything."""

_LEGEND = 12.5  # characters per inch
_LEGEND_ROW = 0.2  # inches

INK, MUTED, LINE, GRID = "#101112", "#606162", "#b0b1b2", "#e0e1e2"
DASHES: dict[str, Any] = {"color": MUTED, "linestyle": (0, (3, 2)), "linewidth": 1.1}  # the score of guessing

_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", GRID: "var(--grid)"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # keep text as text, so that it can be read aloud, searched and themed
    "svg.hashsalt": "herbray",
    "svg.id": None,
    "text.parse_math": False,  # show `$` in names literally
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # shipped with matplotlib, so text has the same size on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "figure.dpi": 100,
    "savefig.dpi": 160,  # of rasterised parts
    "path.simplify": True,
}
"""The style of figures."""

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: SVG to embed in the page, alternative text, and caption."""

    svg: Markup
    alt: str
    caption: str


def render(paint: Callable[[], Figure], name: str, alt: str, caption: str) -> Drawing:
    """Call `paint` with the style of the page and return its figure as inline SVG.

    Args:
        paint: builds the figure with the object interface of matplotlib; the global state of pyplot is not changed.
        name: prefix of the ids in the SVG, unique on the page.
        alt: alternative text for readers who cannot see the figure.
        caption: shown below the figure.
    """
    out = io.StringIO()
    _save(paint, out, format="svg", metadata=_NO_METADATA)
    return Drawing(Markup(_make_inline(out.getvalue(), name)), alt, caption)  # noqa: S704  (matplotlib escapes its text)


def write_png(paint: Callable[[], Figure], path: Path) -> None:
    """Write a figure as a picture with a white ground; see `render`."""
    out = io.BytesIO()
    _save(paint, out, format="png", facecolor="white", metadata={"Software": None})
    storage.write_bytes(path, out.getvalue())


def _save(paint: Callable[[], Figure], out: IO[Any], **options: Any) -> None:  # noqa: ANN401  (of matplotlib)
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # browsers have the glyph
        fonts.setLevel(logging.ERROR)
        try:
            matplotlib.rcdefaults()  # a matplotlibrc of this machine must not change the report
            matplotlib.rcParams.update(STYLE)
            paint().savefig(out, **options)
        finally:
            fonts.setLevel(level)


def _make_inline(svg: str, name: str) -> str:
    """Strip the XML prologue, make ids unique on the page, and take colours from the style sheet."""
    svg = svg[svg.index("<svg") :]
    head, body = svg.split(">", 1)
    width = float(head.split('viewBox="0 0 ')[1].split()[0])  # in points; shown at up to 1.5 times this width
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    head += f' style="max-width:{1.5 * width:.0f}px" aria-hidden="true" focusable="false"'
    body = re.sub(r'(<[^<>]*?\sid=")', rf"\g<1>{name}-", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in _THEME.items():
        body = body.replace(f": {colour}", f": {variable}")
    body = body.replace("'DejaVu Sans'", "var(--sans)")
    return f"{head}>{body}"


def format_percent(axes: Axes, axis: str = "y") -> None:
    """Format the ticks of an axis of shares as percentages."""
    target = axes.yaxis if axis == "y" else axes.xaxis
    target.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")


def add_legend(figure: Figure, series: Sequence[Series], floor: str | None) -> None:
    """Add one legend above all panels; `floor` labels the dashes. The height of the figure grows with the legend."""
    handles = [
        matplotlib.lines.Line2D(
            [],
            [],
            color=one.colour,
            marker=one.marker,
            linestyle="none",
            markersize=6.5,
            markeredgewidth=0,
            label=one.label,
        )
        for one in series
    ]
    if floor:
        handles.append(matplotlib.lines.Line2D([], [], **DASHES, label=floor))
    longest = max(len(str(handle.get_label())) for handle in handles)  # text beyond the edge of the figure is cut off
    columns = max(1, min(len(handles), 6, int(_LEGEND * figure.get_figwidth() // (longest + 6))))
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * (-(-len(handles) // columns) - 1))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handletextpad=0.4)
