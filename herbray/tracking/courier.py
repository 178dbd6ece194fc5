"""Deliveries to the tracking store from a thread of their own: a job goes on while the store is away."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Self

from herbray.console.redact import redact
from herbray.tracking.runs import Run, finish

PATIENCE: Final = 60.0
"""Seconds that a job waits at its end for a store that is away; one request under way may add its own timeout."""

_GRACE: Final = 5.0  # seconds for the last figures of a job that failed
_PAUSE: Final = 1.0  # seconds between deliveries
_LONGEST_HALF: Final = 120  # letters of a reason's two ends: what failed, and the innermost cause
_IMPATIENT: Final = {  # MLflow would go on for four minutes by itself, and sleep while the store is back
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_NOISE: Final = ("mlflow.store.db.utils", "urllib3.connectionpool")  # tell each failure anew, with its stack

_log = logging.getLogger(__name__)


class StoreAway(ValueError):
    """The tracking store does not answer, or refuses; the message says what is safe and how to go on."""


class Courier:
    """Calls `deliver` again and again beside the work, which therefore never waits for the store.

    Whatever `deliver` is to send must wait where it finds it again: it is called anew after a failure. A store that is
    away is told once, and once when it is back. While it works, MLflow tries each request once, unless the environment
    says how often.
    """

    def __init__(self, deliver: Callable[[], None], pause: float = _PAUSE) -> None:
        """`deliver` sends all that there is, in order; `pause` is in seconds."""
        self._deliver, self._pause = deliver, pause
        self._closing = threading.Event()
        self._deadline = 0.0
        self._fault: Exception | None = None
        self._since = 0.0
        self._thread = threading.Thread(target=self._work, name="herbray-courier", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._manners = impatient()
        self._manners.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, without a further delivery if `finish` was not called."""
        self._closing.set()
        self._thread.join(self._pause)
        self._manners.__exit__(None, None, None)

    def finish(self, patience: float) -> None:
        """Deliver what is there now; all that was written before this call is sent when it returns.

        Args:
            patience: seconds to wait for a store that is away.

        Raises:
            StoreAway: it did not come back; the message is the reason.
        """
        self._deadline = time.monotonic() + patience
        self._closing.set()
        self._thread.join(patience + self._pause)
        if self._thread.is_alive() or self._fault is not None:
            raise StoreAway(reason(self._fault) if self._fault else "it does not answer")

    def _work(self) -> None:
        while True:
            last = self._closing.is_set()  # asked before the delivery: then it covers all that was written until then
            delivered = self._attempt()
            if last and (delivered or time.monotonic() >= self._deadline):
                return
            if last:
                time.sleep(min(self._pause, max(0.0, self._deadline - time.monotonic())))
            else:
                self._closing.wait(self._pause)

    def _attempt(self) -> bool:
        try:
            self._deliver()
        except Exception as error:  # of MLflow, its database or the network; what cannot be mended is told at the end
            if self._fault is None:
                self._since = time.monotonic()
                _log.warning("the tracking store is away (%s): the job goes on, its figures wait", reason(error))
            self._fault = error
            return False
        if self._fault is not None:
            _log.warning("the tracking store is back after %.0f s: what waited is sent", time.monotonic() - self._since)
        self._fault = None
        return True


@contextmanager
def impatient() -> Iterator[None]:
    """Let MLflow try each request once and quietly, unless the environment says how often."""
    ours = [name for name in _IMPATIENT if name not in os.environ]
    levels = {name: logging.getLogger(name).level for name in _NOISE}
    os.environ |= {name: _IMPATIENT[name] for name in ours}
    for name in _NOISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def delivered(run: Run, deliver: Callable[[], None], hint: str, patience: float | None = None) -> Iterator[None]:
    """Deliver a run's figures while the body works, and all of them before it is left.

    A body that fails marks the run FAILED, where the store answers, and its error goes on.

    Args:
        run: the body's.
        deliver: see `Courier`.
        hint: what is safe and how to go on, for the message where the store stays away.
        patience: seconds to wait for the store at the end; None: `PATIENCE`.

    Raises:
        StoreAway: it stayed away.
    """
    with Courier(deliver) as courier:
        try:
            yield
        except BaseException:
            with suppress(StoreAway):
                courier.finish(_GRACE)
                mark_failed(run)
            raise
        try:
            courier.finish(PATIENCE if patience is None else patience)
        except StoreAway as error:
            raise StoreAway(f"the tracking store is away ({error}); {hint}") from None


@contextmanager
def told(hint: str, run: Run | None = None) -> Iterator[None]:
    """Turn what the store's side raises in the body into `StoreAway` with words; bad input stays what it is.

    Args:
        hint: what is safe and how to go on.
        run: marked FAILED then, where the store answers.

    Raises:
        StoreAway: see above; the error itself is its cause.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ValueError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:  # the last are those of requests, and a full disk
        if run is not None:
            mark_failed(run)
        raise StoreAway(f"the tracking store refuses or is away ({reason(error)}); {hint}") from error


def mark_failed(run: Run) -> None:
    """Close a run as FAILED; a store that is away is no second fault."""
    try:
        with impatient():
            finish(run, "FAILED")
    except Exception as error:
        _log.warning("run %s could not be marked as failed: %s", run.run_id, reason(error))


def reason(error: BaseException | None) -> str:
    """An error of the store in one short line, without secrets."""
    text = redact(" ".join(f"{type(error).__name__}: {error}".split()))
    return text if len(text) <= 2 * _LONGEST_HALF else f"{text[:_LONGEST_HALF]} … {text[-_LONGEST_HALF:]}"
