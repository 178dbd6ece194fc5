"""Tables of scores: one group of rows per (level, split), one row per series, one column per metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from herbray.report.scores import Cell, Scores, Series, split_name
from herbray.report.text import clean


@dataclass(frozen=True)
class TableCell:
    """One cell of a table as written on the page; `best` marks the best mean of the group.

    `interval` is the bootstrap interval over gatherings, with ends averaged over training seeds; empty if not measured.
    """

    mean: str
    sd: str
    best: bool
    interval: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under one heading, with a note such as the majority baseline."""

    heading: str
    note: str
    rows: tuple[tuple[Series, tuple[TableCell | None, ...]], ...]


@dataclass(frozen=True)
class ScoreTable:
    """A table: column labels and groups of rows."""

    columns: tuple[str, ...]
    groups: tuple[Group, ...]


def score_table(
    scores: Scores,
    task: str,
    metrics: Sequence[tuple[str, str]],
    titles: dict[str, str],
    notes: Sequence[tuple[str, str, str]] = (),
    fewer_is_better: Sequence[str] = (),
    unranked: Sequence[str] = (),
    described: Sequence[str] = (),
) -> ScoreTable | None:
    """Tabulate the mean and standard deviation of every series.

    Args:
        scores: the results.
        task: name of the task.
        metrics: (metric, label) of each column.
        titles: heading of each level, in order.
        notes: (metric, label, format) of values that do not depend on the encoder, shown next to the heading.
        fewer_is_better: metrics whose best value is the lowest.
        unranked: levels at which no value is marked as best.
        described: descriptive metrics, of which no value is marked as best.

    Returns:
        The table; None if there are no rows.
    """
    groups = []
    for level, title in titles.items():
        for split in scores.splits(task):
            cells = [
                (one, [scores.cell(one, task, split, level, metric) for metric, _ in metrics]) for one in scores.series
            ]
            cells = [(one, row) for one, row in cells if any(row)]
            if not cells:
                continue
            best = [
                None
                if level in unranked or metric in described
                else _best_mean([row[column] for _, row in cells], metric in fewer_is_better)
                for column, (metric, _) in enumerate(metrics)
            ]
            ends = {
                one: [_interval(scores, one, (task, split, level), metric) for metric, _ in metrics] for one, _ in cells
            }
            rows = tuple((one, tuple(map(_make_cell, row, best, ends[one]))) for one, row in cells)
            groups.append(
                Group(f"{clean(title)} · {split_name(split)}", _note(scores, task, split, level, notes), rows)
            )
    return ScoreTable(tuple(label for _, label in metrics), tuple(groups)) if groups else None


def _best_mean(cells: Sequence[Cell | None], fewest: bool) -> float | None:
    means = [cell.mean for cell in cells if cell]
    if len(means) < 2:
        return None
    return min(means) if fewest else max(means)


def _interval(scores: Scores, series: Series, place: tuple[str, str, str], metric: str) -> str:
    low, high = (scores.cell(series, *place, f"{metric}_{end}") for end in ("low", "high"))
    return f"{low.mean:.3f}–{high.mean:.3f}" if low and high else ""


def _make_cell(cell: Cell | None, best: float | None, interval: str) -> TableCell | None:
    if cell is None:
        return None
    sd = f"± {cell.sd:.3f}" if cell.sd is not None else ""
    mean = f"{cell.mean:.3f}"
    return TableCell(mean, sd, best is not None and mean == f"{best:.3f}", interval)


def _note(scores: Scores, task: str, split: str, level: str, notes: Sequence[tuple[str, str, str]]) -> str:
    parts = []
    for metric, label, form in notes:
        cell = scores.shared_cell(task, split, level, metric)
        if cell and cell.mean:  # do not mention zeros
            parts.append(f"{label} {format(cell.mean, form)}")
    return " · ".join(parts)
