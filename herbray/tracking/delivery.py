"""Delivery of metrics to the tracking server from a background thread: jobs continue while it is unreachable."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Literal, Self

from herbray.console.redact import redact
from herbray.exit_codes import Unreachable, find_refusal
from herbray.tracking.runs import Run, finish

PATIENCE: Final = 60.0
"""Seconds that a job waits at its end for an unreachable server; a pending request may add its own timeout."""

_GRACE: Final = 5.0  # seconds to deliver the last metrics of a failed job
_PAUSE: Final = 1.0  # seconds between deliveries
_LONGEST_HALF: Final = 120  # characters kept at each end of an error: what failed, and the innermost cause
_ONE_TRY: Final = {  # by itself MLflow retries for four minutes, with long pauses even after the server is back
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_NOISY_LOGGERS: Final = ("mlflow.store.db.utils", "urllib3.connectionpool")  # log every failure, with its stack

_log = logging.getLogger(__name__)


class StoreUnreachable(Unreachable):
    """The tracking server does not answer; the message says what is safe and how to continue."""


class StoreRefused(ValueError):
    """The tracking server answers, but refuses a request; the message says what is safe and how to continue."""


class DeliveryThread:
    """Calls `deliver` repeatedly in a thread, so that the work never waits for the server.

    `deliver` is called again after a failure, so it must find what it has not sent yet. An outage of the server is
    logged once when it begins and once when it ends. While the thread runs, MLflow tries each request once, unless the
    environment sets the number of retries.
    """

    def __init__(self, deliver: Callable[[], None], pause: float = _PAUSE) -> None:
        """`deliver` sends all pending data, in order; `pause` is the time between calls, in seconds."""
        self._deliver, self._pause = deliver, pause
        self._closing = threading.Event()
        self._deadline = 0.0
        self._error: Exception | None = None
        self._since = 0.0
        self._thread = threading.Thread(target=self._work, name="herbray-delivery", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._one_try = try_once()
        self._one_try.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread; without a prior call of `finish`, pending data are not delivered."""
        self._closing.set()
        self._thread.join(self._pause)
        self._one_try.__exit__(None, None, None)

    def finish(self, patience: float) -> None:
        """Deliver all data written before this call, and stop.

        Args:
            patience: seconds to wait for an unreachable server.

        Raises:
            StoreUnreachable: the server stayed unreachable; the message is the reason.
        """
        self._deadline = time.monotonic() + patience
        self._closing.set()
        self._thread.join(patience + self._pause)
        if self._thread.is_alive() or self._error is not None:
            raise StoreUnreachable(summarise_error(self._error) if self._error else "no answer")

    def _work(self) -> None:
        while True:
            last = (
                self._closing.is_set()
            )  # read before the delivery, which then covers everything written before `finish`
            is_delivered = self._attempt()
            if last and (is_delivered or time.monotonic() >= self._deadline):
                return
            if last:
                time.sleep(min(self._pause, max(0.0, self._deadline - time.monotonic())))
            else:
                self._closing.wait(self._pause)

    def _attempt(self) -> bool:
        try:
            self._deliver()
        except Exception as error:  # of MLflow, its database or the network; raised by `finish` if it persists
            if self._error is None:
                self._since = time.monotonic()
                _log.warning(
                    "the tracking server is unreachable (%s): the job continues, its metrics wait",
                    summarise_error(error),
                )
            self._error = error
            return False
        if self._error is not None:
            _log.warning(
                "the tracking server is reachable again after %.0f s: the waiting metrics were sent",
                time.monotonic() - self._since,
            )
        self._error = None
        return True


@contextmanager
def try_once() -> Iterator[None]:
    """Make MLflow try each request once, without logging failures, unless the environment sets the retries."""
    ours = [name for name in _ONE_TRY if name not in os.environ]
    levels = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    os.environ |= {name: _ONE_TRY[name] for name in ours}
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def deliver_in_background(
    run: Run, deliver: Callable[[], None], hint: str, patience: float | None = None
) -> Iterator[None]:
    """Deliver the metrics of a run while the body runs; at the end, all of them have been delivered.

    If the body fails, the run is marked FAILED, or KILLED if the job was asked to stop, as far as the server answers;
    the error is raised again.

    Args:
        run: the run of the body.
        deliver: see `DeliveryThread`.
        hint: what is safe and how to continue, for the error message.
        patience: seconds to wait for the server at the end; None: `PATIENCE`.

    Raises:
        StoreUnreachable: the server stayed unreachable.
    """
    with DeliveryThread(deliver) as delivery:
        try:
            yield
        except BaseException as error:
            with suppress(StoreUnreachable):
                delivery.finish(_GRACE)
                mark_unfinished(run, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        try:
            delivery.finish(PATIENCE if patience is None else patience)
        except StoreUnreachable as error:
            raise StoreUnreachable(f"the tracking server is unreachable ({error}); {hint}") from None


@contextmanager
def wrap_store_errors(hint: str, run: Run | None = None) -> Iterator[None]:
    """Raise errors of the store in the body as our own; errors of bad input are not changed.

    Args:
        hint: what is safe and how to continue, for the error message.
        run: a run to mark as FAILED, if the server answers.

    Raises:
        StoreUnreachable: the store does not answer; the original error is the cause.
        StoreRefused: the store answers, but refuses the request; the original error is the cause.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ValueError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:  # OSError: errors of requests, and a full disk
        if run is not None:
            mark_unfinished(run)
        if find_refusal(error) is not None:
            raise StoreRefused(f"the tracking server refuses a request ({summarise_error(error)}); {hint}") from error
        raise StoreUnreachable(f"the tracking server is unreachable ({summarise_error(error)}); {hint}") from error


def mark_unfinished(run: Run, status: Literal["FAILED", "KILLED"] = "FAILED") -> None:
    """Close a run that did not finish; if the server is unreachable, only log a warning."""
    try:
        with try_once():
            finish(run, status)
    except Exception as error:
        _log.warning("run %s could not be marked %s: %s", run.run_id, status, summarise_error(error))


def summarise_error(error: BaseException | None) -> str:
    """An error of the store as one short line, without secrets."""
    text = redact(" ".join(f"{type(error).__name__}: {error}".split()))
    return text if len(text) <= 2 * _LONGEST_HALF else f"{text[:_LONGEST_HALF]} … {text[-_LONGEST_HALF:]}"
