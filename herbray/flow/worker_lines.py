"""What processes of a Ray cluster print: the user is shown herbray's own lines, and with `HERBRAY_LOG=debug` all."""

import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from ray._private.ray_logging import global_worker_stdstream_dispatcher

from herbray import logs

_AGAIN_S: Final = 600.0
"""Workers that say the same within so many seconds have said it once."""

_CRASH: Final = re.compile(r"Fatal Python error|\*\*\* SIG|terminate called")
"""What a process prints that dies without an exception, which would reach the driver by itself."""

_RAY: Final = "ray_print_logs"  # Ray's name for its handler of these lines, which it removes by it


def environment() -> dict[str, Any]:
    """The runtime environment in which workers mark herbray's lines, for `ray.init`."""
    return {"worker_process_setup_hook": f"{logs.__name__}.{logs.configure_worker.__name__}"}


def logging_settings() -> dict[str, Any]:
    """Arguments of `ray.init`: workers' lines come to the driver, and Ray's own log as far as it is wanted."""
    return {"log_to_driver": True, "logging_level": logs.library_level()}


def select() -> None:
    """Show the lines of a cluster that was just joined, herbray's alone unless all are wanted."""
    if logs.detail() != "debug":
        global_worker_stdstream_dispatcher.remove_handler(_RAY)
        global_worker_stdstream_dispatcher.add_handler(_RAY, Lines().print)


class Lines:
    """Prints herbray's lines once, however many workers say them."""

    def __init__(self) -> None:
        """None was printed."""
        self._printed: dict[str, float] = {}

    def print(self, data: Mapping[str, Any]) -> None:
        """Print what is for the user of a batch of lines of one process, as Ray hands it over."""
        for text in data["lines"]:
            if (logs.shown(text) or _CRASH.match(text)) and self._new(text):
                print(logs.printable(text), file=sys.stderr)

    def _new(self, text: str) -> bool:
        now = time.monotonic()
        if now - self._printed.get(text, -_AGAIN_S) < _AGAIN_S:
            return False
        self._printed[text] = now
        return True
