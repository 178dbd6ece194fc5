"""A disk without room: found under whatever was raised around it, and told with a way out."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DISK_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No space, over the quota, a file larger than is allowed, read-only: the next try would end the same."""

_MAX_CAUSES: Final = 20


def find_disk_error(error: BaseException) -> OSError | None:
    """The disk's complaint, if it is what made a job fail; looks under what Ray and others wrap around it."""
    return next((each for each in _causes(error) if isinstance(each, OSError) and each.errno in DISK_ERRNOS), None)


def describe_disk_error(complaint: OSError, out: Path) -> str:
    """What is full, how much is left there, and what to do.

    Args:
        complaint: from `full`.
        out: that the job writes to; the folder is named where the complaint names no file.
    """
    place = Path(str(complaint.filename)) if complaint.filename else out
    there = next((each for each in (place, *place.absolute().parents) if each.exists()), Path("/"))
    disk = shutil.disk_usage(there)
    what = " ".join(str(complaint.strerror).split())[:300]
    go_on = (
        "make room there, or name another folder, and give the same command again: it goes on where this one stopped"
    )
    free = f"{disk.free / 1e6:,.0f} MB of {disk.total / 1e6:,.0f} MB are free there now"
    return f"{place}: cannot be written ({what}); {free}" + ("" if "same command" in what else f"; {go_on}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised for, depth first."""
    waiting, seen = [error], 0
    while waiting and seen < _MAX_CAUSES:
        seen += 1
        yield (each := waiting.pop(0))
        inner = (getattr(each, "cause", None), each.__cause__, each.__context__)
        waiting += [one for one in inner if isinstance(one, BaseException)]
