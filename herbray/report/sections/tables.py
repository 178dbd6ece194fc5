"""Tables of scores: a group of rows a (level, split), a row a series, a column a metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from herbray.report.scores import Cell, Scores, Series, split_name
from herbray.report.text import clean


@dataclass(frozen=True)
class TableCell:
    """One cell of a table as it is written; `best` where its mean is the best of its group.

    `interval` is that of the bootstrap over gatherings, its ends averaged over training seeds; empty if there is none.
    """

    mean: str
    sd: str
    best: bool
    interval: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under one heading, with a note such as the majority floor."""

    heading: str
    note: str
    rows: tuple[tuple[Series, tuple[TableCell | None, ...]], ...]


@dataclass(frozen=True)
class ScoreTable:
    """A table ready to be written: column labels and groups of rows."""

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
    """Mean and standard deviation of every series.

    Args:
        scores: the results.
        task: the task's name.
        metrics: (metric, label) of each column.
        titles: heading of each level, in order.
        notes: (metric, label, format) of values that do not depend on the encoder, told beside the heading.
        fewer_is_better: metrics whose best value is the lowest.
        unranked: levels at which no value is called best.
        described: metrics of which none is: they describe.

    Returns:
        The table; None where there is no row.
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
        if cell and cell.mean:  # nothing left out is not worth a word
            parts.append(f"{label} {format(cell.mean, form)}")
    return " · ".join(parts)
