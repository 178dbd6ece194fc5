"""SIGTERM and SIGINT: a job ends with KeyboardInterrupt, at once or where it can save its state first."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _Pending:
    """A part of a job that ends by itself soon after it has been asked to stop."""

    def __init__(self, request: Callable[[], object], notice: str) -> None:
        self.request, self.notice = request, notice
        self.is_asked = False

    def ask(self) -> None:
        self.is_asked = True
        os.write(2, f"{self.notice}; a second signal ends the job at once\n".encode())  # print() is not reentrant
        self.request()


class _Handler:
    """The handler of this process. Signals are handled while `is_active`, in the main thread only."""

    def __init__(self) -> None:
        self.is_active = False
        self.pending: list[_Pending] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.pending or self.pending[-1].is_asked:
            raise KeyboardInterrupt
        self.pending[-1].ask()


_handler: Final = _Handler()


@contextmanager
def handle_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into KeyboardInterrupt while the body runs; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) or signal.SIG_DFL for each in _SIGNALS}
    _handler.is_active = True
    take_signals()
    try:
        yield
    finally:
        _handler.is_active = False
        for each, former in before.items():
            signal.signal(each, former)


def take_signals() -> None:
    """Handle signals again, after a library has replaced the handlers: `ray.init` does."""
    if _handler.is_active and threading.current_thread() is threading.main_thread():
        for each in _SIGNALS:
            signal.signal(each, _handler)


@contextmanager
def stop_softly(notice: str, request: Callable[[], Any] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Let the body end by itself after the first signal; without `handle_signals`, signals are not affected.

    Args:
        notice: printed when the signal arrives: what the job does now.
        request: called then; asks other processes to stop.

    Yields:
        Whether the body should stop.

    Raises:
        KeyboardInterrupt: at the end of the body if a signal has arrived; or at once, at the second signal.
    """
    pending = _Pending(request, notice)
    _handler.pending.append(pending)
    try:
        yield lambda: pending.is_asked
    finally:
        _handler.pending.remove(pending)
    if pending.is_asked:
        raise KeyboardInterrupt
