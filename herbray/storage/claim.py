"""One writer per output in a bucket: claims, which are small objects with an owner and an expiry.

`pyarrow.fs` has no conditional put. A job therefore writes its own claim first and then lists those of others, which
stores answer consistently: of two jobs that start at the same time, at most one goes on. An owner renews its claim
every few seconds; one that is not renewed expires. Ages are measured by the store's clock alone.
"""

import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from herbray.storage import store
from herbray.storage.address import Place, place_of, show
from herbray.storage.errors import StoreRefused

RENEW_S: Final = 10.0
"""Seconds between renewals of a claim."""

EXPIRY_S: Final = 60.0
"""Seconds after which a claim that was not renewed no longer counts."""

_POLL_S: Final = 2.0
_FOLDER: Final = ".herbray.lock"  # the claims on an output; of a file, `.NAME.herbray.lock` beside it
_DEPTH: Final = 2  # folders below an output in which claims are looked for

_log = logging.getLogger(__name__)


class ClaimTaken(ValueError):
    """Another job holds a claim; `note` is what it wrote, `place` the output that it claims."""

    def __init__(self, place: str, note: dict[str, Any]) -> None:
        """See the class."""
        super().__init__(f"{place} is claimed")
        self.place, self.note = place, note


@contextmanager
def hold_claim(out: Path, lock: Path, verb: str, inside: bool) -> Iterator[None]:
    """Hold the claim on an output while the body runs; it is renewed by a thread.

    If the claim is lost, because this process could not renew it in time, the process gets SIGTERM: another job may
    write the output.

    Args:
        out: the output, a path that stands for an address.
        lock: the path of the lock; its claims lie below it in the bucket.
        verb: of the job.
        inside: whether claims on outputs inside this one count.

    Raises:
        ClaimTaken: a job that is alive holds this output, a folder around it or something inside.
    """
    folder = place_of(lock.parent)
    if folder is None:
        raise ValueError(f"{out} stands for no address")
    mine = _join(_join(folder, lock.name), f"{secrets.token_hex(8)}.json")
    note = {"verb": verb, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    data = json.dumps(note).encode()
    _take(out, mine, data, inside)
    over = threading.Event()
    thread = threading.Thread(target=_renew, args=(mine, data, over), name="herbray-claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError, StoreRefused):  # it expires
            store.delete(mine)


def _take(out: Path, mine: Place, data: bytes, inside: bool) -> None:
    while True:
        try:
            store.put_bytes(mine, data)
        except StoreRefused as error:
            raise StoreRefused(f"{show(out)}: cannot be written: {error}") from None
        written = store.find(mine)
        rival = _find_rival(out, mine, written.written_ns if written else time.time_ns(), inside)
        if rival is None:
            return
        store.delete(mine)
        _wait_for_end(rival)
        time.sleep(secrets.randbelow(1000) / 1000 * _POLL_S)  # two jobs that gave way to each other try in turn


def _find_rival(out: Path, mine: Place, now_ns: int, inside: bool) -> store.Info | None:
    """A claim of another job that has not expired; claims that have are removed."""
    for each in _list_claims(out, mine, inside):
        age = (now_ns - each.written_ns) / 1e9
        if each.place == mine:
            continue
        if age > EXPIRY_S or _is_dead(_read(each.place)):
            store.delete(each.place)
        else:
            return each
    return None


def _list_claims(out: Path, mine: Place, inside: bool) -> Iterator[store.Info]:
    yield from store.list_level(Place(mine.scheme, mine.bucket, mine.key.rpartition("/")[0]))[0]
    for folder in out.parents:
        if (place := place_of(folder)) is None:
            break
        with contextlib.suppress(StoreRefused):  # this job may not see the whole bucket
            yield from store.list_level(_join(place, _FOLDER))[0]
    place = place_of(out)
    if inside and place is not None:
        yield from _list_inside(place, _DEPTH)


def _list_inside(place: Place, depth: int) -> Iterator[store.Info]:
    for folder in store.list_level(place)[1]:
        if folder.key.endswith(_FOLDER):
            yield from store.list_level(folder)[0]
        elif depth:
            yield from _list_inside(folder, depth - 1)


def _wait_for_end(rival: store.Info) -> None:
    """Wait until a claim is gone or has expired.

    Raises:
        ClaimTaken: its owner renews it, or another job has taken the output.
    """
    note, end = _read(rival.place), time.monotonic() + EXPIRY_S + RENEW_S
    output = str(rival.place).partition("/.")[0]
    _log.warning("%s was claimed by another job: waiting up to %.0f s to see whether it lives", output, EXPIRY_S)
    while time.monotonic() < end:
        found = store.find(rival.place)
        if found is None:
            return
        if found.written_ns != rival.written_ns:
            raise ClaimTaken(output, note)
        time.sleep(_POLL_S)


def _is_dead(note: dict[str, Any]) -> bool:
    """Whether the owner ran on this machine and has ended."""
    if note.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(note["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _read(place: Place) -> dict[str, Any]:
    try:
        found = json.loads(store.read_object(place, limit=4096))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _renew(mine: Place, data: bytes, over: threading.Event) -> None:
    last = time.monotonic()
    while not over.wait(RENEW_S):
        try:
            lost = time.monotonic() - last > EXPIRY_S or store.find(mine) is None
            if not lost:
                store.put_bytes(mine, data)
                last = time.monotonic()
        except (OSError, StoreRefused) as error:
            _log.warning("the claim on this output could not be renewed: %s", error)
            continue
        if lost:
            _log.warning("%s: this job could not renew its claim in time and stops", str(mine).partition("/.")[0])
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _join(place: Place, name: str) -> Place:
    return Place(place.scheme, place.bucket, f"{place.key}/{name}" if place.key else name)
