"""One job per output: a lock file names the job that writes a folder or a file, and other jobs are refused.

The lock is `flock(2)`: the kernel releases it when the process ends, even if it is killed, so nothing needs cleaning
up. Between machines it works only on file systems that share locks, see `docs/security.md`. In a bucket, the lock is a
claim: see `herbray.storage.claim`.
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
from typing import IO, Any, Final

from herbray.storage import claim, is_remote

LOCK: Final = ".herbray.lock"
"""Name of the lock file in a folder. That of a file is next to the file, e.g. `.results.parquet.herbray.lock`."""

FILE_ENDINGS: Final = frozenset({".csv", ".html", ".json", ".md", ".parquet"})
"""Endings of outputs that are files. Only the name counts: two jobs must agree before the output exists."""

_TRIES: Final = 5  # 0.1 s apart: another job that is starting may hold the lock for a moment
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})

_log = logging.getLogger(__name__)


class OutputBusy(ValueError):
    """Another job is writing the output, a parent folder or something inside it; the message says which job."""


@contextmanager
def lock_output(out: Path, verb: str) -> Iterator[None]:
    """Lock an output while a job writes it.

    A job on a folder excludes jobs on outputs inside it, two folders deep (`runs/demo/train/triplet` is inside
    `runs/demo`), and the other way round. Each job first takes its own lock and then checks the others: of two jobs
    that start at the same time, at most one continues.

    Args:
        out: the folder or file that the job writes; folders that the lock file needs are created.
        verb: of the job; shown to jobs that are refused.

    Raises:
        OutputBusy: another job is writing the output.
        ValueError: the lock file cannot be written, or the store refuses.
        ConnectionError: the store does not answer.
    """
    if is_remote(out):
        with _hold_claim(out, verb):
            yield
        return
    out = out.resolve()  # one folder may have several names
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
def _hold_claim(out: Path, verb: str) -> Iterator[None]:
    """Hold the claim on an output in a bucket."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(claim.hold_claim(out, lock_path(out), verb, inside=out.suffix not in FILE_ENDINGS))
        except claim.ClaimTaken as taken:
            raise _describe_busy(taken.place, taken.note) from None
        yield


@contextmanager
def _hold_lock(path: Path, out: Path, verb: str) -> Iterator[None]:
    """Hold a lock file that names this job; remove it at the end, with the folders created for it that are empty."""
    created = [folder for folder in path.parents if not folder.exists()]
    with _open_locked(path, out) as file:
        try:
            note = {"verb": verb, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
            file.truncate(0)
            file.write(json.dumps(note))
            file.flush()
            yield
        finally:
            with contextlib.suppress(OSError):  # the output may be gone, or contain files of the job
                if _is_current(file, path):
                    path.unlink()
                for folder in created:
                    folder.rmdir()


@contextmanager
def _open_locked(path: Path, out: Path) -> Iterator[IO[str]]:
    """Open and lock the lock file; create another one if its last holder has removed it in the meantime."""
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
            _log.warning("%s: this file system has no locks; make sure that only one job at a time writes there", out)
            return
        else:
            return


def _refuse_if_locked(path: Path, out: Path) -> None:
    """Raise `OutputBusy` if a job holds this lock file."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released at once, when the file is closed
        except BlockingIOError:
            raise _busy_error(file, out) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def _busy_error(file: IO[str], out: Path) -> OutputBusy:
    file.seek(0)
    try:
        note = json.loads(file.read(4096))
    except (ValueError, OSError):  # the job is just writing its note
        note = {}
    return _describe_busy(str(out), note)


def _describe_busy(out: str, note: Any) -> OutputBusy:  # noqa: ANN401  (any JSON)
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(note["since"]))
        job = f"`herbray {note['verb']}`, pid {note['pid']} on {note['host']}, since {since}"
    except (ValueError, KeyError, TypeError, OverflowError):
        job = "another job that has just started"
    return OutputBusy(f"{out} is being written by {job}: wait for that job, stop it, or choose another output")


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
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock_candidates(folder: Path, depth: int) -> Iterator[Path]:
    """Paths of possible lock files of jobs inside a folder. The innermost folders are not listed: they may be huge."""
    try:
        with os.scandir(folder) as listing:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
    except OSError:  # removed in the meantime, or not readable
        return
    for name, is_folder in entries:
        if is_folder:
            yield folder / name / LOCK
            if depth:
                yield from _lock_candidates(folder / name, depth - 1)
        elif name != LOCK and name.endswith(LOCK):
            yield folder / name
