"""Reliability curves: what probabilities said, and what came true."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from herbray.report.figures.drawing import DASHES, STYLE, format_percent

_COLOURS = ("#9a6a00", "#00639a")  # before, after; told apart by their markers too
_MARKERS = ("s", "o")


@dataclass(frozen=True)
class Curve:
    """A reliability curve.

    Attributes:
        label: for the legend.
        said: mean probability of each bin.
        found: share of each bin that came true.
    """

    label: str
    said: Sequence[float]
    found: Sequence[float]


def draw_reliability(panels: Sequence[tuple[str, str, Sequence[Curve]]]) -> bytes:
    """Draw one panel beside the other, and return the figure as PNG.

    Args:
        panels: title, what came true (label of the axis), and the curves, the one before calibration first.
    """
    with warnings.catch_warnings(), matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of this machine must not change the figure
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained", facecolor="white")
        for axes, (title, came_true, curves) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            axes.plot([0, 1], [0, 1], **DASHES)
            for curve, colour, marker in zip(curves, _COLOURS, _MARKERS, strict=False):
                axes.plot(curve.said, curve.found, color=colour, marker=marker, markersize=5, label=curve.label)
            axes.set(title=title, xlabel="probability", ylabel=came_true, xlim=(0, 1), ylim=(0, 1), aspect="equal")
            format_percent(axes)
            format_percent(axes, "x")
            axes.legend(loc="upper left")
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
