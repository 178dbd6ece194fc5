"""The room that local copies take on a node's disk: its folder, its limit, and which copies go first."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from herbray.storage.address import CACHE_VARIABLE, cache_of, place_of

LIMIT_VARIABLE: Final = "HERBRAY_CACHE_GB"
"""Environment variable: most bytes that local copies may take, in 10⁹."""

_LIMIT_GB: Final = 50.0
_COPIES: Final = "herbray-copies"
_MARGIN: Final = 500_000_000
"""Bytes that stay free on the disk."""

_LEFT_S: Final = 86_400.0
_guard: Final = threading.Lock()


class CacheTooSmall(ValueError):
    """Objects that a job reads again and again do not fit into the cache."""


def cache_limit() -> float:
    """The most bytes that local copies may take.

    Raises:
        ValueError: `HERBRAY_CACHE_GB` is not a positive number.
    """
    given = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(given) if given else _LIMIT_GB
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise ValueError(f"{LIMIT_VARIABLE}={given}: must be a positive number of gigabytes")
    return limit * 1e9


def check_fits(total: int, what: str) -> None:
    """Check that objects which are read in every epoch fit into the cache together.

    Args:
        total: bytes.
        what: the objects, for the message.

    Raises:
        CacheTooSmall: they do not.
    """
    if total > cache_limit():
        raise CacheTooSmall(
            f"{what}: {total / 1e9:,.1f} GB are read in every epoch, but the cache of a node holds "
            f"{cache_limit() / 1e9:g} GB: set {LIMIT_VARIABLE} to more, and {CACHE_VARIABLE} to a folder on a disk "
            "with so much space"
        )


def facts_path(path: Path) -> Path:
    """The file beside the copies that holds what is known of a copy."""
    cache = cache_of(path)
    inside = path.relative_to(cache)
    return cache / _COPIES / Path(*inside.parts[1:]).with_name(f"{path.name}.facts")


def prepare_cache(folder: Path) -> None:
    """Make the folder of local copies, for this user alone.

    Raises:
        ValueError: it belongs to another user, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot be made ({error.strerror}); set {CACHE_VARIABLE} to a folder on the node's disk"
        ) from None
    if owner != os.getuid():
        raise ValueError(f"{folder}: belongs to another user; set {CACHE_VARIABLE} to a folder of your own")


@contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """Say of a full disk that it is the cache's."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(path) from None


def _full(path: Path) -> OSError:
    way_out = f"free up space or set {CACHE_VARIABLE} to a folder on a larger disk, then run the same command again"
    return OSError(errno.ENOSPC, f"the disk of local copies is full: {way_out}", str(cache_of(path)))


def make_room(path: Path, size: int) -> None:
    """Remove the copies that were used longest ago until `size` more bytes fit.

    Raises:
        OSError: the disk is full.
        CacheTooSmall: the object alone is larger than the cache.
    """
    cache, limit = cache_of(path), cache_limit()
    if size > limit:
        raise CacheTooSmall(
            f"{place_of(path)}: {size / 1e9:,.2f} GB, more than the cache holds: set {LIMIT_VARIABLE} to more"
        )
    with _guard, (cache / "room.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_leftovers(cache)
        copies = sorted(_list_copies(cache / _COPIES))
        total = sum(bytes_ for _, bytes_, _ in copies)
        for _, bytes_, facts in copies:
            free = shutil.disk_usage(cache).free
            if total + size <= limit and free - size > _MARGIN:
                return
            _evict(cache, facts)
            total -= bytes_
        if shutil.disk_usage(cache).free - size <= _MARGIN:
            raise _full(path)


def _remove_leftovers(cache: Path) -> None:
    """Remove working files that killed processes left a day ago or earlier."""
    for parent, _, names in os.walk(cache / "herbray-objects"):
        for path in (Path(parent, name) for name in names if name.startswith(".")):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFT_S:
                    path.unlink()


def _evict(cache: Path, facts: Path) -> None:
    """Remove a copy; a process that has it open keeps what it has open."""
    inside = facts.relative_to(cache / _COPIES)
    (cache / "herbray-objects" / inside).with_name(facts.name.removesuffix(".facts")).unlink(missing_ok=True)
    facts.unlink(missing_ok=True)


def _list_copies(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(last use in ns, bytes, facts) of every copy."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".facts") and not name.startswith("."):
                path = Path(parent, name)
                try:
                    yield path.stat().st_mtime_ns, int(json.loads(path.read_bytes())["size"]), path
                except (OSError, ValueError, KeyError):
                    continue
