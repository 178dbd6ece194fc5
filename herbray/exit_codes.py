"""How a command ends: its exit code, which error means which, and what is printed. No other module decides it."""

import errno
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final

from herbray.disk import describe_disk_error, find_disk_error, iter_causes


class ExitCode(IntEnum):
    """How a command ended.

    * DONE: the result is complete.
    * BAD_INPUT: settings, data, a full disk, or a bug (with a traceback): the same command would fail again.
    * USAGE: the command line has an unknown verb or option.
    * UNREACHABLE: a store or a cluster does not answer, or lost its workers: run the same command again later.
    * INTERRUPTED: SIGTERM or SIGINT; the same command resumes.
    """

    DONE = 0
    BAD_INPUT = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 4


class Unreachable(ValueError):
    """A store or a cluster does not answer; the message says what is safe and how to continue."""


_NETWORK_ERRNOS: Final = frozenset(
    (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ESTALE)
)

_UNREACHABLE: Final = frozenset(
    (
        # Python's, of requests, urllib and SQLAlchemy
        *("ConnectionError", "TimeoutError", "Timeout", "URLError", "OperationalError"),
        *("RayActorError", "WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OwnerDiedError"),
        *("ObjectLostError", "RaySystemError", "RpcError", "WorkerGroupStartupTimeoutError"),
    )
)
"""Names of the classes of errors, or of their bases. Names, because importing Ray or MLflow takes seconds."""

_MAX_QUOTED: Final = 300  # characters; an error of MLflow may quote a page of HTML

_TRY_AGAIN_STATUS: Final = frozenset((408, 429))  # HTTP: timeout, too many requests


def code_of(error: BaseException) -> ExitCode:
    """The exit code for the error that ended a command."""
    if isinstance(error, KeyboardInterrupt | SystemExit):  # Ray's own handlers of signals exit
        return ExitCode.INTERRUPTED
    if find_disk_error(error) is not None:
        return ExitCode.BAD_INPUT
    if isinstance(error, Unreachable):
        return ExitCode.UNREACHABLE
    if isinstance(error, ValueError):  # says itself what is wrong, whatever caused it
        return ExitCode.BAD_INPUT
    return ExitCode.BAD_INPUT if find_outage(error) is None else ExitCode.UNREACHABLE


def describe_failure(error: BaseException, out: Path) -> str:
    """The message for the error that ended a command; for an unexpected one, its traceback and then its cause.

    Args:
        error: not printable yet; it may quote anything.
        out: output of the command, whose disk may be full.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):  # Ray's own handlers of signals exit
        return "interrupted; the same command resumes"
    if isinstance(error, ValueError | FloatingPointError):  # FloatingPointError: the loss is not finite
        return str(error)
    if disk_error := find_disk_error(error):  # here or on a node
        return describe_disk_error(disk_error, out)
    if outage := find_outage(error):
        return f"a store or the cluster does not answer ({_quote(outage)}); once it does, run the same command again"
    trace = "".join(traceback.format_exception(error))
    cause = getattr(error, "cause", None)  # of a Ray task: its own error, without the traceback of the task
    return (
        f"unexpected error\n{trace}{_quote(cause if isinstance(cause, BaseException) else error)}; please report this"
    )


def _quote(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_QUOTED]


def find_outage(error: BaseException) -> BaseException | None:
    """The error of a store or cluster that does not answer, among an error and its causes."""
    return next((each for each in iter_causes(error) if _is_outage(each)), None)


def find_refusal(error: BaseException) -> BaseException | None:
    """The error of a tracking server that answers but refuses, among an error and its causes."""
    refused = (each for each in iter_causes(error) if _http_status(each) is not None and not _is_outage(each))
    return next(refused, None)


def _is_outage(error: BaseException) -> bool:
    if (status := _http_status(error)) is not None:
        return status >= 500 or status in _TRY_AGAIN_STATUS
    if isinstance(error, OSError) and error.errno in _NETWORK_ERRNOS:
        return True
    began = not getattr(error, "actor_init_failed", False)  # else the actor's own code raised an error
    return began and any(kind.__name__ in _UNREACHABLE for kind in type(error).__mro__)


def _http_status(error: BaseException) -> int | None:
    """The HTTP status of an error of MLflow; None for other errors."""
    status: Callable[[], int] | None = getattr(error, "get_http_status_code", None)
    return status() if status else None
