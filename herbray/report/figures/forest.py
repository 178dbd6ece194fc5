"""Forest plot: differences with intervals, grouped by claim."""

from collections.abc import Sequence
from typing import Any, Final

import matplotlib.lines
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from herbray.report.claims import VERDICTS, JudgedComparison, Judgement, Verdict
from herbray.report.figures.drawing import INK, MUTED, WIDTH, Drawing, render
from herbray.report.text import clean

_MOST_ROWS: Final = 40
_LOOK: Final[dict[Verdict, tuple[str, str]]] = {  # markers differ, too, for readers who cannot distinguish the colours
    "agrees": ("#0072B2", "o"),
    "disagrees": ("#D55E00", "D"),
    "undecided": ("#868686", "s"),
}


def draw_forest(judgements: Sequence[Judgement], name: str) -> Drawing | None:
    """Draw the main measure of every claim; None if nothing was compared.

    Args:
        judgements: the claims in the order of the groups; claims without comparisons are left out.
        name: unique on the page.
    """
    every = [(one, _main_rows(one)) for one in judgements if one.rows]
    total = sum(len(rows) for _, rows in every)
    if not total:
        return None
    most_rows = max(1, _MOST_ROWS // len(every)) if total > _MOST_ROWS else total
    groups = [(one, rows[:most_rows]) for one, rows in every]
    shown = sum(len(rows) for _, rows in groups)

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 1.2 + 0.27 * (shown + 1.4 * len(groups))), layout="constrained")
        _paint(figure.subplots(), groups)
        figure.legend(handles=_handles(groups), loc="outside upper left", ncols=len(VERDICTS), handletextpad=0.4)
        return figure

    claims = "; ".join(f"{one.claim.about}, {one.claim.order}: {one.words}" for one, _ in groups)
    drawn = "; ".join(dict.fromkeys(f"{one.claim.about}: {rows[0].measure.label}" for one, rows in groups))
    caption = (
        "Marks: difference of the two means; bars: bootstrap interval, on the same specimens. Right of the line, "
        "the first of the two is better, as reported by the study. One measure per claim is drawn "
        f"({drawn}); the table shows all of them."
    )
    if shown < total:
        caption += f" {shown} of {total} comparisons are drawn: at most {most_rows} per claim."
    return render(paint, name, f"Differences with intervals, by claim. {claims}.", caption)


def _main_rows(judgement: Judgement) -> list[JudgedComparison]:
    """Comparisons by the first metric that was measured, from any task."""
    metric = judgement.rows[0].measure.metric
    return [one for one in judgement.rows if one.measure.metric == metric]


def _paint(axes: Axes, groups: Sequence[tuple[Judgement, Sequence[JudgedComparison]]]) -> None:
    heads, ticks, y = [], [], 0.0
    for judgement, rows in groups:
        heads.append((y, f"{judgement.claim.about}: {judgement.claim.order}"))
        for one in rows:
            y += 1
            ticks.append((y, _label(one)))
            _mark(axes, y, one)
        y += 1.4
    axes.axvline(0, color=MUTED, linewidth=1.1, zorder=0.8)
    axes.set_ylim(y - 0.7, -0.8)
    axes.set_yticks([place for place, _ in (*heads, *ticks)], [text for _, text in (*heads, *ticks)])
    for text in axes.get_yticklabels()[: len(heads)]:
        text.set(fontweight="bold", color=INK)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labelcolor=MUTED)
    axes.spines["left"].set_visible(False)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -1.0), max(high, 1.0))  # keep the zero line off the edge
    axes.set_xlabel("← contradicts the study · difference in percentage points · supports the study →")


def _label(one: JudgedComparison) -> str:
    probe = f" · {one.measure.task}" if one.measure.task == "transfer" else ""
    return f"{one.place}{probe} · {clean(one.start, 60)}"


def _mark(axes: Axes, y: float, one: JudgedComparison) -> None:
    colour, marker = _LOOK[one.verdict]
    axes.plot([one.low, one.high], [y, y], "-", color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(one.difference, y, marker, color=colour, markersize=6.5, markeredgewidth=0)


def _handles(groups: Sequence[tuple[Judgement, Sequence[JudgedComparison]]]) -> list[matplotlib.lines.Line2D]:
    present = {one.verdict for _, rows in groups for one in rows}
    style: dict[str, Any] = {"linestyle": "-", "linewidth": 1.6, "markersize": 6.5, "markeredgewidth": 0}
    looks = [(verdict, *_LOOK[verdict]) for verdict in VERDICTS if verdict in present]
    return [
        matplotlib.lines.Line2D([], [], color=colour, marker=marker, label=verdict, **style)
        for verdict, colour, marker in looks
    ]
