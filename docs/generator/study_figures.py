"""Tables and figures from the results of `herbray study jobs/study-grid.yaml` on several data sets.

    .venv/bin/python docs/generator/study_figures.py --out build/grid runs/grid/pollen73 runs/grid/leaves6 …

Prints one Markdown table per data set and split, and writes `OUT/gains-SPLIT.svg`. The name of a folder is the name of
its data set. Intervals are those of `results-comparisons.parquet`.
"""

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from herbray import schema, tables
from herbray.report.names import Kind

_STARTS: Final = {"random": "random", "imagenet": "ImageNet"}
_DRAWN: Final = "drawn herbarium"
_COLOURS: Final = {"random": "#868686", _DRAWN: "#D55E00", "ImageNet": "#0072B2"}
_LETTERS: Final = {"random": "R", "herbarium": "H", "species": "S"}
_ORDER: Final = ("classifier", "triplet", "autoencoder")  # those of the study first


@dataclass(frozen=True)
class Row:
    """Genus accuracy of an objective from a start, and its gain over the same network without training, in points."""

    objective: str
    label: str  # of the training in the job file; else the objective
    start: str
    accuracy: float
    frozen: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Place:
    """A data set and a split."""

    data: str
    split: str


def read_rows(folder: Path) -> dict[Place, list[Row]]:
    """Read the results of a study.

    Args:
        folder: `out` of the study.

    Raises:
        ValueError: the results are missing or damaged.
    """
    remedy = "run `herbray study jobs/study-grid.yaml` again"
    means = _average(tables.read(folder / "results.parquet", remedy, schema.RESULT).to_pylist())
    found: dict[Place, list[Row]] = {}
    compared = tables.read(folder / "results-comparisons.parquet", remedy, schema.COMPARISON).to_pylist()
    for row in compared:
        if (row["task"], row["level"], row["metric"]) != ("identify", "genus", "accuracy"):
            continue
        sides = {end: Kind.from_row(row, f"_{end}") for end in "ab"}
        trained = [end for end, kind in sides.items() if kind.is_trained]
        if len(trained) != 1 or sides["a"].start_kind != sides["b"].start_kind:
            continue
        end = trained[0]
        kind, start, sign = sides[end], sides["b" if end == "a" else "a"], 100.0 if end == "a" else -100.0
        low, high = sorted((sign * row["low"], sign * row["high"]))
        found.setdefault(Place(folder.name, row["split"]), []).append(
            Row(
                kind.objective,
                kind.model,
                _STARTS.get(kind.init, _DRAWN),
                means[kind.kind, row["split"]],
                means[start.kind, row["split"]],
                sign * row["difference"],
                low,
                high,
            )
        )
    return {place: sorted(rows, key=_place_of) for place, rows in sorted(found.items(), key=str)}


def _average(results: Sequence[Mapping[str, object]]) -> dict[tuple[str, str], float]:
    """Mean genus accuracy over folds and seeds, by kind and split."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in results:
        if (row["task"], row["level"], row["metric"]) == ("identify", "genus", "accuracy"):
            values.setdefault((str(row["kind"]), str(row["split"])), []).append(float(str(row["value"])))
    return {key: sum(each) / len(each) for key, each in values.items()}


def _place_of(row: Row) -> tuple[int, str, int]:
    order = _ORDER.index(row.objective) if row.objective in _ORDER else len(_ORDER)
    return order, row.objective, list(_COLOURS).index(row.start)


def write_tables(rows: Mapping[Place, Sequence[Row]]) -> str:
    """One Markdown table per data set and split: objectives down, starts across."""
    return "\n".join(line for place, found in rows.items() for line in _write_table(place, found))


def _write_table(place: Place, rows: Sequence[Row]) -> Iterator[str]:
    starts = [start for start in _COLOURS if any(row.start == start for row in rows)]
    by_cell = {(row.objective, row.start): row for row in rows}
    frozen = {row.start: row.frozen for row in rows}
    split = _LETTERS.get(place.split, place.split)
    yield f"**{place.data}, {split} split**: genus accuracy, and gain in points (95 % interval)"
    yield ""
    yield "| objective | " + " | ".join(f"from {start}" for start in starts) + " |"
    yield "|---|" + "---|" * len(starts)
    yield "| not trained | " + " | ".join(f"{frozen[start]:.3f}" for start in starts) + " |"
    for objective in dict.fromkeys(row.objective for row in rows):
        cells = [by_cell.get((objective, start)) for start in starts]
        yield f"| {objective} | " + " | ".join(map(_write_cell, cells)) + " |"
    yield ""


def _write_cell(row: Row | None) -> str:
    if row is None:
        return "–"
    gain = f"{row.accuracy:.3f}, {row.gain:+.1f} ({row.low:.1f} to {row.high:.1f})"
    return f"**{gain}**" if row.low > 0 else gain


def draw_gains(rows: Mapping[Place, Sequence[Row]], split: str) -> Figure:
    """One panel per data set: the gain over the untrained start, with its interval, by objective and start."""
    shown = {place: found for place, found in rows.items() if place.split == split}
    objectives = list(dict.fromkeys(row.objective for row in sorted(itertools.chain(*shown.values()), key=_place_of)))
    figure = Figure(figsize=(1.6 + 2.4 * len(shown), 1.2 + 0.42 * len(objectives)), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, (place, found) in zip(panels, shown.items(), strict=True):
        for row in found:
            y = objectives.index(row.objective) + 0.22 * (list(_COLOURS).index(row.start) - 1)
            axes.plot([row.low, row.high], [y, y], color=_COLOURS[row.start], linewidth=1.6)
            axes.plot(row.gain, y, "o", color=_COLOURS[row.start], markersize=5.5)
        axes.axvline(0, color="#606162", linewidth=1)
        axes.set_title(place.data, fontsize=10.5, loc="left")
        axes.set_xlabel("points")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(visible=True, axis="x", color="#e0e1e2")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(objectives)), objectives)
    panels[0].set_ylim(len(objectives) - 0.5, -0.5)
    for start, colour in _COLOURS.items():
        figure.axes[0].plot([], [], "o-", color=colour, label=f"from {start}")
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


def main(folders: Sequence[Path], out: Path) -> None:
    """Print the tables and write the figures."""
    rows = {place: found for folder in folders for place, found in read_rows(folder).items()}
    out.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "herbray", "svg.fonttype": "none", "figure.dpi": 100})
    for split in dict.fromkeys(place.split for place in rows):
        draw_gains(rows, split).savefig(out / f"gains-{split}.svg", metadata={"Date": None, "Creator": None})
    print(write_tables(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder of the figures")
    given = parser.parse_args()
    main(given.folders, given.out)
