"""What processes of a Ray cluster print: the user is shown herbray's own lines, and with `HERBRAY_LOG=debug` all."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ray._private import worker

from herbray.console import logs

_REPEAT_S: Final = 600.0
"""Processes that say the same within so many seconds have said it once."""

_CRASH: Final = re.compile(r"Fatal Python error|\*\*\* SIG|terminate called")
"""What a process prints that dies without an exception, which would reach the driver by itself."""

_LOSS: Final = re.compile(r"killed|died|marked dead|out of memory|No available node types", re.IGNORECASE)
"""What Ray's own processes tell of that a user can act on: lost processes, lost nodes, nodes that cannot be had."""

_RAY_PROCESSES: Final = ("raylet", "autoscaler", "gcs")


def runtime_environment() -> dict[str, Any]:
    """The runtime environment in which workers mark herbray's lines, for `ray.init`."""
    _configure_worker.__module__ = "__main__"  # sent as code, not as a name that a worker could fail to import
    return {"worker_process_setup_hook": _configure_worker}


def logging_settings() -> dict[str, Any]:
    """Arguments of `ray.init`: workers' lines come to the driver, and Ray's own log as far as it is wanted."""
    return {"log_to_driver": True, "logging_level": logs.library_level()}


def _configure_worker() -> None:
    """Run by each worker before its first task, when herbray may lie on no path yet: one that fails here would die."""
    from contextlib import suppress

    with suppress(ImportError):
        from herbray.console.logs import configure_worker

        configure_worker()


@contextmanager
def filter_output() -> Iterator[None]:
    """Show what is for the user of the lines of a cluster that is joined in the body; all if all are wanted.

    Ray prints all or nothing, through one function.
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
    """Prints lines once, however many processes say them."""

    def __init__(self) -> None:
        """None was printed."""
        self._printed: dict[str, float] = {}

    def print(self, data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        """Print what is for the user of a batch of lines of one process, as Ray hands it over."""
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
    """Whether a line is for the user; `process` is a worker's id, or the name of one of Ray's own."""
    return bool(_LOSS.search(text) if process in _RAY_PROCESSES else logs.is_shown(text) or _CRASH.match(text))
