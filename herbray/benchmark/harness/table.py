"""The tables of a record: one layout for the terminal, drawn with rich, and for Markdown, written by `page`."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from herbray.benchmark.harness.figures import Figure, Spread, laps_of, ratio, spread
from herbray.benchmark.harness.race import Lap, Measures
from herbray.benchmark.harness.record import Entry, Record

_OURS: Final = "herbray"
_LEAST: Final = 0.0001
_COLUMNS: Final[dict[Measures, tuple[Figure, ...]]] = {
    "rate": ("rate", "cpu_ms", "wall"),
    "seconds": ("seconds", "cpu_s"),
    "stages": ("wall",),
}
"""Figures of a row: by wall time, by CPU time, and others."""
MARKS: Final = {True: "met", False: "not met", None: "–"}


def contenders(entry: Entry, laps: Sequence[Lap]) -> list[str]:
    """Names of the contenders that ran: herbray, its variants, then the peers, each group in the case's order."""
    ran = list(dict.fromkeys(lap.contender for lap in laps if lap.case == entry.case))
    if entry.contenders:
        names = [name for name in entry.contenders if name in ran]
    else:  # an older record: in the first round that was kept, the case's first contender ran last, see `race`
        names = ran[-1:] + ran[:-1]
    return sorted(names, key=lambda name: (name != _OURS, not _is_ours(name)))


def header(entry: Entry) -> tuple[str, ...]:
    """Column names of a case's table, with a rate only if the case measures one."""
    if entry.measures == "stages":
        return ("stage", entry.unit, "s", "CPU s", "peak MiB", "of which", "MB written")
    unit = _singular(entry.unit)
    rate, seconds = (f"{entry.unit}/s", f"CPU ms/{unit}", "s/lap"), (f"s/{unit}", f"CPU s/{unit}")
    figures = rate if entry.measures == "rate" else seconds
    return ("contender", *figures, "peak MiB", "CPU, ours = 1", "time, ours = 1")


def rows(entry: Entry, laps: Sequence[Lap]) -> list[tuple[str, ...]]:
    """One row per contender; the missing peers come last, with their reasons instead of figures.

    Each figure is the median over rounds with minimum and maximum. The two ratios are medians of the ratios within
    rounds; they compare with the contender named "herbray", or with our first variant if there is none.
    """
    if entry.measures == "stages":
        return [_stage_row(lap) for lap in laps if lap.case == entry.case]
    names = contenders(entry, laps)
    ours = next((name for name in names if _is_ours(name)), None)
    ran = [_row(entry, laps, name, ours) for name in names]
    blank = ("",) * (len(header(entry)) - 2)
    return ran + [(name, f"missing: {reason}", *blank) for name, reason in entry.missing.items()]


def _stage_row(lap: Lap) -> tuple[str, ...]:
    """The figures of a stage; "of which": its processes with most memory, each at its own peak."""
    processes = ", ".join(f"{name} {mib:,.0f}" for name, mib in (lap.processes or {}).items())
    cpu = "" if lap.cpu_s is None else _format_number(lap.cpu_s)
    peak = "" if lap.peak_mib is None else f"{lap.peak_mib:,.0f}"
    written = "" if lap.written_mb is None else f"{max(0.0, lap.written_mb):,.1f}"
    return lap.contender, f"{lap.units:,}", _format_number(lap.wall_s), cpu, peak, processes, written


def _row(entry: Entry, laps: Sequence[Lap], name: str, ours: str | None) -> tuple[str, ...]:
    figures = _COLUMNS[entry.measures]
    peaks = [lap.peak_mib for lap in laps_of(laps, entry.case, name) if lap.peak_mib is not None]
    return (
        name,
        *(_format_spread(spread(laps, entry.case, name, figure)) for figure in figures),
        f"{max(peaks):,.0f}" if peaks else "",
        _format_ratio(None if ours is None else ratio(laps, entry.case, ours, name, figures[1])),
        _format_ratio(None if ours is None else ratio(laps, entry.case, ours, name, figures[0])),
    )


def _singular(unit: str) -> str:
    if unit.endswith(("ies", "ches")):
        return f"{unit[:-3]}y" if unit.endswith("ies") else unit[:-2]
    return unit.removesuffix("s")


def print_record(done: Record, console: Console | None = None) -> None:
    """Print a record: a table per case, the promises, and a warning if the machine was busy."""
    console = console or Console()
    for entry in done.cases:
        table = Table(title=entry.case, title_justify="left")
        names = header(entry)
        empty = [i for i, column in enumerate(zip(*rows(entry, done.laps), strict=True)) if i and not any(column)]
        kept = [i for i in range(len(names)) if i not in empty]
        for i in kept:
            table.add_column(names[i], justify="right" if i else "left")
        for row in rows(entry, done.laps):
            table.add_row(*(escape(row[i].replace(" (", "\n(")) for i in kept))  # narrow terminals
        console.print(table)
    for verdict in done.verdicts:
        colour = {True: "green", False: "red", None: "yellow"}[verdict.met]
        line = escape(f"{verdict.case}: {verdict.promise}: measured {verdict.measured}")
        console.print(f"[{colour}]{MARKS[verdict.met]:>7}[/] {line}", soft_wrap=True)
    if warning := describe_load(done):
        console.print(f"[yellow]{escape(warning)}[/]")


def describe_load(done: Record) -> str:
    """A warning if the load was higher than the number of cores; otherwise ""."""
    if done.load <= 1:
        return ""
    return f"Under load: up to {done.load:.2f} runnable processes a core during the laps; compare CPU time, not rates."


def _is_ours(name: str) -> bool:
    return name == _OURS or name.startswith(f"{_OURS}: ")


def _format_spread(value: Spread | None) -> str:
    if value is None:
        return ""
    return f"{_format_number(value.median)} ({_format_number(value.low)}–{_format_number(value.high)})"


def _format_number(number: float) -> str:
    """Three significant digits without an exponent; values below the resolution of a measurement are not shown."""
    if number < _LEAST:
        return f"< {_LEAST:g}"
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}" if number >= 1 else f"{number:.3g}"


def _format_ratio(value: Spread | None) -> str:
    return "" if value is None else f"{value.median:.2f} ×"
