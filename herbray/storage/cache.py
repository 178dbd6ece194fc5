"""Local copies of objects: fetched once per node, verified, bounded, and shared by the node's processes.

A copy lies at the path that stands for its address. What is known of it lies beside, in `herbray-copies/`: the version
of the object, its size and its SHA-256. Each copy has a lock file: of several processes that need an object, one
fetches it and the others wait. The object is the truth: a copy of another version is fetched again.
"""

import fcntl
import hashlib
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from herbray.storage import store
from herbray.storage.address import Place, cache_of, place_of
from herbray.storage.room import facts_path, make_room, name_full_disk, prepare_cache
from herbray.storage.usage import count, describe_usage, log_usage

_FETCHED: Final = "fetched.log"
_LOG_BYTES: Final = 10_000_000

_verified: Final[set[Path]] = set()
_log = logging.getLogger(__name__)


def fetch(path: Path, trusted: bool = False, check: Callable[[Path], object] | None = None) -> Path:
    """Make the local copy of an object current; a path of this machine stays as it is.

    Args:
        path: that stands for an address, or an ordinary path.
        trusted: the object does not change while this process runs: a copy that it has verified is not compared again.
        check: called with a file that has just been fetched, before it counts as a copy.

    Returns:
        The path.

    Raises:
        FileNotFoundError: there is no such object.
        OSError: the store does not answer, or the cache's disk is full.
    """
    place = place_of(path)
    if place is None or (trusted and path in _verified and path.exists()):
        if place is not None:
            count(hits=1)
        return path
    with _locked(path):
        try:
            file, version = store.open_object(place)
        except FileNotFoundError:
            _forget(path)
            raise
        with file:
            if _is_current(path, version):
                count(hits=1)
            else:
                _download(place, file, version, path, check)
    _verified.add(path)
    return path


def publish(source: Path, path: Path) -> None:
    """Write a local file as an object, and keep it as the object's copy. The object comes first."""
    place = place_of(path)
    if place is None:
        raise ValueError(f"{path} stands for no address")
    with _locked(path):
        digest = _digest(source)
        version = store.put_file(place, source)
        source.replace(path)
        _write_facts(path, version, digest)
    _verified.add(path)


def forget(path: Path) -> None:
    """Remove a local copy; the object stays."""
    with _locked(path):
        _forget(path)


def _download(place: Place, file: Any, version: str, path: Path, check: Callable[[Path], object] | None) -> None:  # noqa: ANN401  (a NativeFile of pyarrow)
    make_room(path, int(file.size()))
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.fetch")
    digest = hashlib.sha256()
    with name_full_disk(path):
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as sink:
                for data in store.read_chunks(place, file):
                    digest.update(data)
                    sink.write(data)
            if check is not None:
                check(temporary)
            temporary.replace(path)
            _write_facts(path, version, digest.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
    count(fetched=1)
    _record(path, int(file.size()))


def _record(path: Path, size: int) -> None:
    """Note in the cache's own log that an object was fetched, for the count of a node."""
    log = cache_of(path) / _FETCHED
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.unlink(missing_ok=True)
    with log.open("a") as file:
        file.write(f"{time.time():.3f} {size}\n")


def count_fetched(cache: Path, since: float) -> tuple[int, int]:
    """Objects and bytes that the processes of this node have fetched since a time, in s since 1970."""
    try:
        rows = [line.split() for line in (cache / _FETCHED).read_text().splitlines()]
    except OSError:
        return 0, 0
    sizes = [int(row[1]) for row in rows if len(row) == 2 and float(row[0]) >= since]
    return len(sizes), sum(sizes)


def log_use(path: Path, since: float) -> None:
    """Log what this node has fetched since a time, in s since 1970.

    Args:
        path: of an object; other paths use no cache.
        since: e.g. when a training began.
    """
    if place_of(path) is None:
        return
    objects, size = count_fetched(cache_of(path), since)
    message = "%s fetched %d objects (%.1f MB) into its cache; %s"
    log_usage(message % (socket.gethostname(), objects, size / 1e6, describe_usage() or "nothing was read"))


def _is_current(path: Path, version: str) -> bool:
    """Whether the copy is of this version and undamaged; its digest is compared once per process."""
    facts = _read_facts(path)
    if facts.get("version") != version or not path.is_file() or path.stat().st_size != facts.get("size"):
        return False
    if path not in _verified and _digest(path) != facts.get("sha256"):
        _log.warning("%s: the local copy is damaged; it is fetched again", place_of(path))
        return False
    os.utime(facts_path(path))  # when it was last used
    return True


def _forget(path: Path) -> None:
    _verified.discard(path)
    path.unlink(missing_ok=True)
    facts_path(path).unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(facts_path(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_facts(path: Path, version: str, digest: str) -> None:
    target = facts_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = {"version": version, "size": path.stat().st_size, "sha256": digest}
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}")
    temporary.write_text(json.dumps(facts))
    temporary.replace(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a copy."""
    prepare_cache(cache_of(path))
    lock = facts_path(path).with_suffix(".lock")
    with name_full_disk(path):
        lock.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
