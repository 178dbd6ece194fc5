"""What the processes of a Ray cluster print. Users see herbray's own lines; with `HERBRAY_LOG=debug`, all lines."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ray._private import worker

from herbray.console import logs

_REPEAT_S: Final = 600.0
"""A line that is repeated within this many seconds, by any process, is printed once."""

_CRASH: Final = re.compile(r"Fatal Python error|\*\*\* SIG|terminate called")
"""What a process prints when it crashes without an exception. Exceptions reach the driver anyway."""

_LOSS: Final = re.compile(r"killed|died|marked dead|out of memory|No available node types", re.IGNORECASE)
"""Events in Ray's own log that a user can act on: lost processes, lost nodes, unavailable node types."""

_RAY_PROCESSES: Final = ("raylet", "autoscaler", "gcs")


def runtime_environment() -> dict[str, Any]:
    """The `runtime_env` of `ray.init`, in which workers print herbray's log lines in a recognizable form."""
    _configure_worker.__module__ = "__main__"  # pickled by value: a worker may be unable to import herbray
    return {"worker_process_setup_hook": _configure_worker}


def logging_settings() -> dict[str, Any]:
    """Arguments of `ray.init`: workers' output goes to the driver; `HERBRAY_LOG` limits Ray's own log."""
    return {"log_to_driver": True, "logging_level": logs.library_level()}


def _configure_worker() -> None:
    """Runs in each worker before its first task. herbray may not be importable yet; an error here kills the worker."""
    from contextlib import suppress

    with suppress(ImportError):
        from herbray.console.logs import configure_worker

        configure_worker()


@contextmanager
def filter_output() -> Iterator[None]:
    """Filter the lines that a cluster joined in the body prints; print all of them with `HERBRAY_LOG=debug`.

    Ray itself prints either all lines or none, through one function, which is replaced here.
    """
    if logs.log_detail() == "debug":
        yield
        return
    before = worker.print_to_stdstream
    worker.print_to_stdstream = LinePrinter().print
    try:
        yield
    finally:
        worker.print_to_stdstream = before


class LinePrinter:
    """Prints each line once, even if several processes print it."""

    def __init__(self) -> None:
        """Start with no line printed."""
        self._printed: dict[str, float] = {}

    def print(self, data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        """Print the lines meant for the user; replaces `ray._private.worker.print_to_stdstream`.

        Args:
            data: lines of one process, as Ray passes them.
            ignore_prefix: Ray's; not used.
        """
        for text in data["lines"]:
            if is_for_user(text, str(data.get("pid"))) and self._new(text):
                print(logs.make_printable(text), file=sys.stderr)

    def _new(self, text: str) -> bool:
        now = time.monotonic()
        if now - self._printed.get(text, -_REPEAT_S) < _REPEAT_S:
            return False
        self._printed[text] = now
        return True


def is_for_user(text: str, process: str) -> bool:
    """Whether a line is meant for the user; `process` is a worker's id, or the name of one of Ray's processes."""
    return bool(_LOSS.search(text) if process in _RAY_PROCESSES else logs.is_shown(text) or _CRASH.match(text))
