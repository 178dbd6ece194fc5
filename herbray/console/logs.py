"""The log of a job: by default, only warnings of herbray are shown; `HERBRAY_LOG` can ask for more."""

import contextlib
import logging
import os
import re
import sys
from typing import Final, Literal

from herbray.console.redact import redact
from herbray.storage import show_all

LOG_VARIABLE: Final = "HERBRAY_LOG"
"""Environment variable with the level of detail."""

Detail = Literal["warning", "info", "debug"]

_LEVELS: Final[dict[Detail, tuple[int, int]]] = {
    "warning": (logging.WARNING, logging.ERROR),
    "info": (logging.INFO, logging.WARNING),
    "debug": (logging.DEBUG, logging.INFO),
}
"""Value of `HERBRAY_LOG` → lowest level that is shown for herbray, and for other libraries."""

_LOGGED_LINE: Final = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) herbray[\w.]*: ")
_USAGE: Final = "INFO herbray.storage.usage: "
_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"


def log_detail() -> Detail:
    """The level of detail, from the environment variable `HERBRAY_LOG`.

    Raises:
        ValueError: the value is not warning, info or debug.
    """
    value = os.environ.get(LOG_VARIABLE, "").strip().lower() or "warning"
    if value not in _LEVELS:
        raise ValueError(
            f"{LOG_VARIABLE}={value}: unknown; set it to {', '.join(_LEVELS)}, or unset it for warnings only"
        )
    return value


def library_level() -> int:
    """The lowest level that is shown for libraries other than herbray."""
    return _LEVELS[log_detail()][1]


def configure() -> None:
    """Configure logging in this process: log to stderr, at the levels that `HERBRAY_LOG` asks for.

    If possible, call it before Ray and MLflow are imported, because they read the environment on import. Processes that
    they start inherit the environment.

    Raises:
        ValueError: see `detail`.
    """
    level, _ = _LEVELS[log_detail()]
    _install_handler(logging.getLogger("herbray"), level)
    _install_handler(logging.getLogger(), library_level(), others=True)
    quiet_mlflow()


def configure_worker() -> None:
    """Configure logging in a Ray worker. It logs everything; the driver reads the lines and decides what is shown."""
    ours = logging.getLogger("herbray")
    _install_handler(ours, logging.DEBUG)
    ours.propagate = False  # Ray Train adds its own handler to the root logger


def quiet_mlflow() -> None:
    """Limit MLflow and its database migrations to the level of other libraries, even if they are not imported yet."""
    level = library_level()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", logging.getLevelName(level))
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(level)


def level_of(text: str) -> int | None:
    """The level of a line that herbray logged; None for other lines."""
    found = _LOGGED_LINE.match(text)
    return logging.getLevelNamesMapping()[found[1]] if found else None


def is_shown(text: str) -> bool:
    """Whether a worker's line is shown: logged by herbray, at a level that `HERBRAY_LOG` includes; or a node's use."""
    level = level_of(text)
    if text.startswith(_USAGE):
        return True
    return level is not None and level >= _LEVELS[log_detail()][0]


def make_printable(text: str) -> str:
    """Remove secrets and control characters, which messages may quote from metadata, from a text for the terminal.

    Addresses stand in place of the paths of their local copies.
    """
    redacted = redact(show_all(text))
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in redacted)


class Formatter(logging.Formatter):
    """Formats each message as one line, even if it quotes line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; only a traceback takes several lines."""
        text = make_printable(super().format(record))
        return text if record.exc_info else " ".join(text.splitlines())


class _Stderr(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a closed or full stderr does not end a job
            print(self.format(record), file=sys.stderr)


def _install_handler(logger: logging.Logger, level: int, others: bool = False) -> None:
    """Give a logger our handler, only once, and lower the logger's level to that of the handler."""
    if level < logger.getEffectiveLevel():
        logger.setLevel(level)
    handler = next((each for each in logger.handlers if isinstance(each, _Stderr)), None)
    if handler is None:
        handler = _Stderr()
        handler.setFormatter(Formatter(_FORMAT))
        if others:
            handler.addFilter(lambda record: not record.name.startswith("herbray"))
        logger.addHandler(handler)
    handler.setLevel(level)
