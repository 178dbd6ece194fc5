"""Curves of image size and epochs from the results of `herbray study jobs/experiments/sizes.yaml`.

    .venv/bin/python docs/generator/size_figures.py --out build/sizes.svg runs/experiments/sizes

Prints a Markdown table of the trainings and draws genus accuracy by image size and by epochs, trained and frozen.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_figures import Place, Row, read_rows

_LABEL: Final = re.compile(
    r"(?:(?P<first>\d+) to )?(?P<size>\d+) px, (?P<epochs>\d+) epochs(?:, (?P<start>random) start)?"
)
_COLOURS: Final = {"trained": "#0072B2", "growing": "#009E73", "frozen": "#868686", "random": "#D55E00"}


@dataclass(frozen=True, order=True)
class Point:
    """One training of the experiment: the settings that its label names, and its scores."""

    start: str
    epochs: int
    size: int  # px
    growing: bool  # whether the images grew during the training
    accuracy: float
    frozen: float
    gain: float
    low: float
    high: float

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read the label of a training.

        Raises:
            ValueError: it does not name size and epochs.
        """
        found = _LABEL.fullmatch(row.label)
        if not found:
            raise ValueError(f"the label {row.label!r} does not name size and epochs, such as '64 px, 12 epochs'")
        settings = (found["start"] or "imagenet", int(found["epochs"]), int(found["size"]), bool(found["first"]))
        return cls(*settings, row.accuracy, row.frozen, row.gain, row.low, row.high)


def read_points(folder: Path, split: str = "random") -> list[Point]:
    """The trainings of the experiment in the results of the study in `folder`, in order of start, epochs and size.

    Raises:
        ValueError: the results are missing or damaged, or have no such split.
    """
    found = read_rows(folder).get(Place(folder.name, split))
    if not found:
        raise ValueError(f"{folder}: no training was compared with its start on split {split}")
    return sorted(map(Point.from_row, found))


def write_table(points: Sequence[Point]) -> str:
    """A Markdown table: one line a training."""
    lines = ["| start | epochs | px | frozen | trained | gain in points (95 % interval) |", "|---|--:|--:|--:|--:|---|"]
    for each in points:
        size = f"{each.size // 2} to {each.size}" if each.growing else f"{each.size}"
        gain = f"{each.gain:+.1f} ({each.low:.1f} to {each.high:.1f})"
        lines.append(f"| {each.start} | {each.epochs} | {size} | {each.frozen:.3f} | {each.accuracy:.3f} | {gain} |")
    return "\n".join(lines)


def draw_curves(points: Sequence[Point], epochs: int = 12, size: int = 64) -> Figure:
    """Genus accuracy by image size after `epochs` epochs, and by epochs at `size` px."""
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    by_size, by_epochs = figure.subplots(1, 2, sharey=True)
    images = [each for each in points if each.epochs == epochs and each.start == "imagenet"]
    even = [each for each in images if not each.growing]
    _draw(by_size, "trained", [(each.size, each.accuracy) for each in even])
    _draw(by_size, "growing", [(each.size, each.accuracy) for each in images if each.growing])
    _draw(by_size, "frozen", [(each.size, each.frozen) for each in even])
    lengths = [each for each in points if each.size == size and not each.growing]
    for start, name in (("imagenet", "trained"), ("random", "random")):
        _draw(by_epochs, name, [(each.epochs, each.accuracy) for each in lengths if each.start == start])
    for axes, title in ((by_size, f"image side (px), {epochs} epochs"), (by_epochs, f"epochs, {size} px")):
        axes.set_xlabel(title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#e0e1e2")
    by_size.set_ylabel("genus accuracy")
    by_size.set_xticks(sorted({each.size for each in even}))
    by_epochs.set_xticks(sorted({each.epochs for each in lengths}))
    names = {"trained": "trained from ImageNet", "growing": "images that grow", "random": "trained from random weights"}
    for name, colour in _COLOURS.items():
        by_size.plot([], [], "o-", color=colour, label=names.get(name, name))
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, name: str, points: Sequence[tuple[int, float]]) -> None:
    if points:
        axes.plot(*zip(*sorted(points), strict=True), "o-", color=_COLOURS[name], linewidth=1.6)


def main(folder: Path, out: Path) -> None:
    """Print the table and write the figure."""
    points = read_points(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "herbray", "svg.fonttype": "none", "figure.dpi": 100})
    draw_curves(points).savefig(out, metadata={"Date": None, "Creator": None})
    print(write_table(points))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="the figure")
    given = parser.parse_args()
    main(given.folder, given.out)
