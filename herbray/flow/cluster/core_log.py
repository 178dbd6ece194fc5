"""Silences the log of Ray's C++ core in a process that joins a cluster: users cannot act on its lines."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from herbray.console import logs

_LEVEL: Final = "RAY_BACKEND_LOG_LEVEL"
_LEVEL_NOTICE: Final = re.compile(rb"\[.+\] logging\.cc:\d+: Set ray log level from environment variable")


@contextmanager
def silence() -> Iterator[None]:
    """Silence the core of a cluster that is joined in the body, from then on, unless the environment sets its level.

    The core reads its log level from the environment when a cluster is joined, and announces the level on the process's
    stderr, bypassing Python. That announcement is dropped. Other lines written in the meantime are printed when the
    body ends.
    """
    if logs.log_detail() == "debug" or _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "fatal"
    try:
        with tempfile.TemporaryFile() as buffer, _hold_back_stderr(buffer):
            yield
    finally:
        del os.environ[_LEVEL]


@contextmanager
def _hold_back_stderr(buffer: BinaryIO) -> Iterator[None]:
    """Collect what the process writes to stderr; write it there afterwards, without the level announcement."""
    try:
        real = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    sys.stderr.flush()
    os.dup2(buffer.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        os.close(real)
        buffer.seek(0)
        for line in buffer:
            if not _LEVEL_NOTICE.match(line):
                os.write(2, line)
