"""What a job prints beside its progress and its result: warnings of ours; `HERBRAY_LOG` asks for more."""

import logging
import os
import re
import sys
from typing import Final, Literal

from herbray.console.redact import redact

LOG_VARIABLE: Final = "HERBRAY_LOG"
Detail = Literal["warning", "info", "debug"]

_LEVELS: Final[dict[Detail, tuple[int, int]]] = {
    "warning": (logging.WARNING, logging.ERROR),
    "info": (logging.INFO, logging.WARNING),
    "debug": (logging.DEBUG, logging.INFO),
}
"""Value of `HERBRAY_LOG` → least level that is shown of herbray and of the libraries below it."""

_LOGGED_LINE: Final = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) herbray[\w.]*: ")
_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"


def log_detail() -> Detail:
    """How much is shown, by the environment's `HERBRAY_LOG`.

    Raises:
        ValueError: it is none of warning, info and debug.
    """
    value = os.environ.get(LOG_VARIABLE, "").strip().lower() or "warning"
    if value not in _LEVELS:
        raise ValueError(
            f"{LOG_VARIABLE}={value}: unknown; set it to {', '.join(_LEVELS)}, or unset it for warnings alone"
        )
    return value


def library_level() -> int:
    """Least level that is shown of the libraries below herbray."""
    return _LEVELS[log_detail()][1]


def configure() -> None:
    """Configure this process: herbray's log to stderr, libraries' where they are worth it.

    Call it before Ray and MLflow are imported, if possible: they read the environment when they are. What they start
    inherits it.

    Raises:
        ValueError: see `detail`.
    """
    level, _ = _LEVELS[log_detail()]
    _install_handler(logging.getLogger("herbray"), level)
    _install_handler(logging.getLogger(), library_level(), others=True)
    quiet_mlflow()


def configure_worker() -> None:
    """Configure a Ray worker, whose log the driver reads line by line: it decides what is shown."""
    ours = logging.getLogger("herbray")
    _install_handler(ours, logging.DEBUG)
    ours.propagate = False  # Ray Train gives the root logger a handler of its own


def quiet_mlflow() -> None:
    """Let MLflow and its migrations tell no more than other libraries, whether they are imported yet or not."""
    level = library_level()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", logging.getLevelName(level))
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(level)


def level_of(text: str) -> int | None:
    """Level of a line that herbray logged; None for other lines."""
    found = _LOGGED_LINE.match(text)
    return logging.getLevelNamesMapping()[found[1]] if found else None


def is_shown(text: str) -> bool:
    """Whether a worker's line is for the user: logged by herbray, at a level that is wanted."""
    level = level_of(text)
    return level is not None and level >= _LEVELS[log_detail()][0]


def make_printable(text: str) -> str:
    """A message may quote names from metadata: neither control characters in them nor secrets reach the terminal."""
    letters = redact(text)
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in letters)


class Formatter(logging.Formatter):
    """One line a message, whatever it quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Of a record without a traceback."""
        text = make_printable(super().format(record))
        return text if record.exc_info else " ".join(text.splitlines())


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is at the moment: a progress bar stands in for it while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _install_handler(logger: logging.Logger, level: int, others: bool = False) -> None:
    """Give a logger our handler, once, and let it pass what the handler shows."""
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
