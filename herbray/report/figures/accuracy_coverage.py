"""Accuracy against coverage: how many suggested names can be accepted, and how many of them are right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from herbray.report.figures.drawing import DASHES, format_percent, write_png

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MOST_POINTS: Final = 2000


@dataclass(frozen=True, eq=False)
class Curve:
    """One line.

    Attributes:
        label: in the legend.
        coverage: [n] ascending.
        accuracy: [n] among the most confident specimens of that coverage.
        at: coverage at the threshold; 0 if nothing is accepted.
    """

    label: str
    coverage: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    at: float


def write_accuracy_coverage(curves: Sequence[Curve], wanted: float, path: Path) -> None:
    """Write the figure as PNG: a line for each curve, the wanted accuracy as dashes, and a dot at each threshold."""

    def paint() -> Figure:
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(wanted, **DASHES, label=f"wanted: {100 * wanted:g}%")
        lowest = wanted
        for curve, colour in zip(curves, _COLOURS * len(curves), strict=False):
            rows = np.unique(np.linspace(0, len(curve.coverage) - 1, _MOST_POINTS).astype(int))
            axes.plot(curve.coverage[rows], curve.accuracy[rows], color=colour, linewidth=1.6, label=curve.label)
            lowest = min(lowest, float(curve.accuracy[rows].min()))
            if curve.at > 0:
                here = np.searchsorted(curve.coverage, curve.at - 1e-12)
                axes.plot(curve.coverage[here], curve.accuracy[here], "o", color=colour, markersize=7)
        axes.set(
            xlim=(0, 1.01), ylim=(max(0.0, lowest - 0.05), 1.01), xlabel="coverage: share of sheets that are accepted"
        )
        axes.set_ylabel("accuracy among them")
        format_percent(axes)
        format_percent(axes, "x")
        axes.legend(loc="lower left", fontsize=9)
        return figure

    write_png(paint, path)
