"""One job an output: a locked file names the job that writes a folder or a file, and turns others away.

The lock is `flock(2)`: the kernel lets go of it when its holder ends, however it ends, so a killed job leaves nothing
to clean up. Between machines it holds only where the file system passes locks on, see `docs/security.md`.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

LOCK: Final = ".herbray.lock"
"""Name of the lock in a folder; that of a file stands beside it, as `.results.parquet.herbray.lock`."""

FILE_ENDINGS: Final = frozenset({".csv", ".html", ".json", ".md", ".parquet"})
"""Endings of outputs that are files. Judged by name alone: two jobs must agree before the output exists."""

_TRIES: Final = 5  # a tenth of a second apart: a job that starts nearby may hold a lock for a glance
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})

_log = logging.getLogger(__name__)


class OutputBusy(ValueError):
    """Another job is writing the output, a folder around it or something inside it; the message says which."""


@contextmanager
def lock_output(out: Path, verb: str) -> Iterator[None]:
    """Hold an output while a job writes it.

    A job on a folder excludes jobs on what is in it (two folders deep, as `runs/demo/train/triplet` lies in
    `runs/demo`), and is excluded by them. Each job takes its own lock first and looks for others' then: of two that
    start at once, at most one goes on.

    Args:
        out: the folder or file that the job writes; made as far as the lock needs it.
        verb: what the job is, told to those who are turned away.

    Raises:
        OutputHeld: another job has it.
        ValueError: the lock cannot be written there.
    """
    out = out.resolve()  # two names of one folder are one folder
    with _hold_lock(lock_path(out), out, verb):
        for folder in out.parents:
            _refuse_if_locked(folder / LOCK, folder)
        if out.suffix not in FILE_ENDINGS:
            for path in _lock_candidates(out, depth=1):
                _refuse_if_locked(path, path.parent)
        yield


def lock_path(out: Path) -> Path:
    """The lock file of an output."""
    return out.with_name(f".{out.name}{LOCK}") if out.suffix in FILE_ENDINGS else out / LOCK


@contextmanager
def _hold_lock(path: Path, out: Path, verb: str) -> Iterator[None]:
    """Hold a lock file, with our name in it; removed at the end, with folders that we made and that stayed empty."""
    made = [folder for folder in path.parents if not folder.exists()]
    with _open_locked(path, out) as file:
        try:
            note = {"verb": verb, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
            file.truncate(0)
            file.write(json.dumps(note))
            file.flush()
            yield
        finally:
            with contextlib.suppress(OSError):  # the output may be gone, or hold what the job has written
                if _is_current(file, path):
                    path.unlink()
                for folder in made:
                    folder.rmdir()


@contextmanager
def _open_locked(path: Path, out: Path) -> Iterator[IO[str]]:
    """The lock file, locked; another one is made if its last holder removed it in the meantime."""
    while True:
        with _open(path) as file:
            _lock(file, out)
            if _is_current(file, path):
                yield file
                return


def _lock(file: IO[str], out: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not tries_left:
                raise _busy_error(file, out) from None
            time.sleep(0.1)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: this file system has no locks; let one job at a time write there", out)
            return
        else:
            return


def _refuse_if_locked(path: Path, out: Path) -> None:
    """Be turned away by whoever holds a lock file, if it exists."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go with the file, at once
        except BlockingIOError:
            raise _busy_error(file, out) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def _busy_error(file: IO[str], out: Path) -> OutputBusy:
    file.seek(0)
    try:
        note = json.loads(file.read(4096))
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(note["since"]))
        who = f"`herbray {note['verb']}`, pid {note['pid']} on {note['host']}, since {since}"
    except (ValueError, KeyError, TypeError, OverflowError, OSError):  # its holder is just writing it
        who = "another job that has just started"
    return OutputBusy(f"{out} is being written by {who}: wait until it ends, stop it, or choose another output")


def _open(path: Path) -> IO[str]:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        except FileNotFoundError:  # another job has just removed the empty folder
            continue
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error.strerror}); choose another output") from None


def _is_current(file: IO[str], path: Path) -> bool:
    """Whether the open file still is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock_candidates(folder: Path, depth: int) -> Iterator[Path]:
    """Where locks of jobs inside a folder may be. The innermost folders are not listed: they may hold a million."""
    try:
        with os.scandir(folder) as listing:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
    except OSError:  # removed meanwhile, or not ours to read
        return
    for name, is_folder in entries:
        if is_folder:
            yield folder / name / LOCK
            if depth:
                yield from _lock_candidates(folder / name, depth - 1)
        elif name != LOCK and name.endswith(LOCK):
            yield folder / name
