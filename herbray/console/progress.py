"""Progress of a job: a bar on a terminal, occasional progress lines in a log file."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

MIN_INTERVAL_S: Final = 10.0
"""In a log file, the fewest seconds between two lines of a task."""

MAX_INTERVAL_S: Final = 60.0
"""The most seconds between two lines, if anything was completed between them."""

AGE_SHARE: Final = 0.1
"""Between these two, the seconds between lines as a share of the task's age: a long job does not flood its log."""

MAX_SILENCE_S: Final = 300.0
"""The most seconds without a line."""

console = Console(stderr=True)

_IS_MUTED: Final = ContextVar("herbray_progress_is_muted", default=False)


@contextmanager
def mute_progress() -> Iterator[None]:
    """Inside the block, `progress` shows nothing: another process shows the same work."""
    token = _IS_MUTED.set(True)
    try:
        yield
    finally:
        _IS_MUTED.reset(token)


@contextmanager
def progress() -> Iterator[Progress]:
    """Show completed and total amount, rate and remaining time of the tasks that are added.

    Tasks have a field `unit` in the singular. `begun` is the amount that an earlier job has completed; the rate does
    not count it.
    """
    is_interactive = console.is_terminal or console.is_jupyter
    bar = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        refresh_per_second=2,
        disable=not is_interactive or _IS_MUTED.get(),
    )
    with bar:
        if is_interactive or _IS_MUTED.get():
            yield bar
        else:
            with _print_due_lines(bar):
                yield bar


def progress_line(task: Task) -> str:
    """A task as one line: "shard: 1,024/3,137 images, 207 image/s, 0:10 left"."""
    total = "?" if task.total is None else _format_count(task.total)
    unit = str(task.fields.get("unit", "step"))
    parts = [f"{task.description}: {_format_count(task.completed)}/{total} {unit}s"]
    if (rate := mean_rate(task)) and task.finished:
        parts.append(f"{format_rate(rate, unit)}, in {format_duration(_elapsed(task))}")
    elif rate:
        parts.append(format_rate(rate, unit))
        parts += [] if task.remaining is None else [f"{format_duration(task.remaining / rate)} left"]
    return ", ".join(parts)


def is_line_due(seconds: float, age: float, has_advanced: bool) -> bool:
    """Whether the next line of a task is due.

    Args:
        seconds: since its last line.
        age: seconds since its start.
        has_advanced: whether anything was completed since its last line.
    """
    interval = min(max(MIN_INTERVAL_S, AGE_SHARE * age), MAX_INTERVAL_S)
    return seconds >= (interval if has_advanced else MAX_SILENCE_S)


def mean_rate(task: Task) -> float:
    """Mean rate since the start, 0 if nothing is completed. A momentary rate is useless, as Ray reports in bursts."""
    done = task.completed - float(task.fields.get("begun", 0.0))
    return max(0.0, done) / seconds if (seconds := _elapsed(task)) else 0.0


def _elapsed(task: Task) -> float:
    """Seconds of a task; those of a finished one do not grow while others go on."""
    return (task.elapsed if task.finished_time is None else task.finished_time) or 0.0


def format_rate(rate: float, unit: str) -> str:
    """A rate per second, minute or hour: "207 image/s", "3.1 epoch/min", "1.5 epoch/h"."""
    if rate >= 10:
        return f"{rate:,.0f} {unit}/s"
    return f"{60 * rate:,.1f} {unit}/min" if rate >= 1 / 60 else f"{3600 * rate:,.1f} {unit}/h"


def format_duration(seconds: float) -> str:
    """A duration: "3:05", "1:00:00"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit, rate = str(task.fields.get("unit", "step")), mean_rate(task)
        return Text(format_rate(rate, unit) if rate else f"– {unit}/s", style="cyan")


@contextmanager
def _print_due_lines(bar: Progress) -> Iterator[None]:
    """Print progress lines while the body runs, and a last line for each task."""
    over = threading.Event()
    lines = _LinePrinter(bar)
    thread = threading.Thread(target=lines.follow, args=(over,), name="herbray-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        lines.conclude()


class _LinePrinter:
    """Prints progress lines, and remembers the last line of each task."""

    def __init__(self, bar: Progress) -> None:
        self.bar, self.began = bar, time.monotonic()
        self.last: dict[int, tuple[float, float]] = {}
        """Task → time of its last line, and the amount completed then."""

    def follow(self, over: threading.Event) -> None:
        while not over.wait(1.0):
            for task in self.bar.tasks:
                now, (then, done) = time.monotonic(), self.last.get(task.id, (self.began, 0.0))
                if task.finished:
                    self._conclude(task)
                elif is_line_due(now - then, now - self.began, task.completed > done):
                    self._print(task, now)

    def conclude(self) -> None:
        for task in self.bar.tasks:
            self._conclude(task)

    def _conclude(self, task: Task) -> None:
        """Print the last line of a task, unless it has been printed."""
        if task.completed and self.last.get(task.id, (0.0, 0.0))[1] != task.completed:
            self._print(task, time.monotonic())

    def _print(self, task: Task, now: float) -> None:
        self.last[task.id] = now, task.completed
        self.bar.console.print(progress_line(task), highlight=False, markup=False, soft_wrap=True)


def _format_count(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
