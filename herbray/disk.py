"""Disk errors: finds the disk error behind another exception, and describes it with a remedy."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DISK_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No space, quota exceeded, file too large, read-only disk: retrying does not help."""

_MAX_CAUSES: Final = 20


def find_disk_error(error: BaseException) -> OSError | None:
    """The disk error that made a job fail, if there is one; looks behind exceptions of Ray and others."""
    return next((each for each in iter_causes(error) if isinstance(each, OSError) and each.errno in DISK_ERRNOS), None)


def describe_disk_error(error: OSError, out: Path) -> str:
    """What could not be written, how much space is free there, and what to do.

    Args:
        error: from `find_disk_error`.
        out: output of the job; named if the error names no file.
    """
    path = Path(str(error.filename)) if error.filename else out
    existing = next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))
    disk = shutil.disk_usage(existing)
    reason = " ".join(str(error.strerror).split())[:300]
    free = f"{disk.free / 1e6:,.0f} MB of {disk.total / 1e6:,.0f} MB are free there now"
    message = f"{path}: cannot be written ({reason}); {free}"
    if "same command" in reason:  # the reason already says what to do
        return message
    return f"{message}; free up space or choose another folder, then run the same command again to resume"


def iter_causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, breadth first."""
    waiting, count = [error], 0
    while waiting and count < _MAX_CAUSES:
        count += 1
        yield (each := waiting.pop(0))
        inner = (getattr(each, "cause", None), each.__cause__, each.__context__)
        waiting += [one for one in inner if isinstance(one, BaseException)]
