"""The plan as tables, for the terminal and for Markdown."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from herbray.sizing.demand import Demand
from herbray.sizing.rates import Rate

HEADER: Final = ("verb", "images", "steps", "read", "written", "memory", "GPU memory", "time", "binds", "next")
_WIDTH: Final = 120  # of the table in a file
_UNITS: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIMES: Final = ((48 * 3600, 86400, "days"), (7200, 3600, "h"), (120, 60, "min"))


def rows(demands: Sequence[Demand]) -> list[tuple[str, ...]]:
    """One row per verb, in the order of `HEADER`."""
    return [_row(demand) for demand in demands]


def _row(demand: Demand) -> tuple[str, ...]:
    total = demand.total_s
    return (
        demand.verb,
        f"{demand.images:,}",
        f"{demand.steps:,}",
        format_bytes(demand.traffic.read),
        format_bytes(demand.traffic.written),
        format_bytes(demand.memory),
        format_bytes(demand.device),
        "not measured" if total is None else format_time(total),
        demand.binds,
        _next(demand),
    )


def _next(demand: Demand) -> str:
    """The resource that would bind next, and its share of the time of the first."""
    if demand.total_s is None:
        return ""
    taken = sorted(((value or 0.0, name) for name, value in demand.seconds.items()), reverse=True)
    if len(taken) < 2 or not taken[0][0]:
        return ""
    return f"{taken[1][1]} {taken[1][0] / taken[0][0]:.0%}"


def format_bytes(count: float) -> str:
    """Bytes in a unit of their size; "" for none."""
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B" if count else ""


def format_time(seconds: float) -> str:
    """Seconds in a unit of their size."""
    for least, size, unit in _TIMES:
        if seconds >= least:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def notes(demands: Sequence[Demand], used: Sequence[Rate]) -> Iterator[str]:
    """What is missing, and where the rates come from."""
    for demand in demands:
        for command in demand.missing:
            yield f"{demand.verb}: not measured; run {command}"
    started = {rate.name for rate in used if rate.work == "start"}
    if unknown := [demand.verb for demand in demands if demand.verb not in started]:
        yield f"start of {', '.join(unknown)}: not measured, not counted; herbray plan --measure starts=true"
    for rate in used:
        yield _describe(rate)


def _describe(rate: Rate) -> str:
    what = " ".join(str(each) for each in (rate.work, rate.name, rate.arch, rate.objective) if each)
    size = f" at {rate.px} px" if rate.px else ""
    where = rate.device if rate.device != "cpu" else f"{rate.cores} core{'s' * (rate.cores > 1)} of {rate.machine}"
    figure = f"{1 / rate.per_s:.3g} s" if rate.work == "start" else f"{rate.per_s:,.0f}/s"
    busy = f", under load ({rate.load:.1f} processes a core)" if rate.load > 1 else ""
    return f"rate: {what}{size}: {figure}, {where}, {rate.when}, {rate.source}{busy}"


def print_plan(demands: Sequence[Demand], used: Sequence[Rate], console: Console | None = None) -> None:
    """Print the table, what is missing, and the rates."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    shown = rows(demands)
    kept = [i for i in range(len(HEADER)) if any(row[i] for row in shown)]
    table = Table(*(HEADER[i] for i in kept), box=None, pad_edge=False)
    for row in shown:
        table.add_row(*(row[i] for i in kept))
    console.print(table)
    for line in notes(demands, used):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def markdown(demands: Sequence[Demand]) -> str:
    """The table in Markdown."""
    lines = [" | ".join(row) for row in [HEADER, ("---",) + ("--:",) * (len(HEADER) - 1), *rows(demands)]]
    return "\n".join(f"| {line} |" for line in lines)
