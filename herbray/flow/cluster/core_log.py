"""What the C++ core of Ray says in a process that joins a cluster: nothing that a user could act on."""

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
    """Join a cluster in the body, and see no line of the core from then on, unless the environment gives its level.

    The core takes its level from the environment when a cluster is joined, and tells so on the process's stderr, past
    Python. That line is dropped; others that are written meanwhile come when the body ends.
    """
    if logs.log_detail() == "debug" or _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "fatal"
    try:
        with tempfile.TemporaryFile() as held, _hold_back_stderr(held):
            yield
    finally:
        del os.environ[_LEVEL]


@contextmanager
def _hold_back_stderr(held: BinaryIO) -> Iterator[None]:
    """Collect what is written to the process's stderr, and write it there afterwards, less what is of no use."""
    try:
        real = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    sys.stderr.flush()
    os.dup2(held.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        os.close(real)
        held.seek(0)
        for line in held:
            if not _LEVEL_NOTICE.match(line):
                os.write(2, line)
