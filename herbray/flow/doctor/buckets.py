"""Object stores: whether a prefix can be written, read and listed, whether claims work, how fast, and whose clock."""

import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from herbray.flow.doctor.finding import Finding
from herbray.storage import StoreRefused, StoreUnreachable, place_of, store
from herbray.storage.address import Place

_SKEW_S: Final = 60.0
_SLOW_S: Final = 0.5
_ASKED: Final = 5

_REMEDY: Final = "check the address, the network, and the credentials in the environment or the profile"


def check_buckets(folders: Sequence[Path]) -> Iterator[Finding]:
    """Check the object stores of the folders that stand for addresses.

    `pyarrow.fs` has no conditional put: one writer per output rests on claims, for which a store must list an object
    as soon as it is written.
    """
    for place in sorted({found for folder in folders if (found := place_of(folder.absolute()))}):
        probe = Place(place.scheme, place.bucket, f"{place.key}/.herbray-doctor/{secrets.token_hex(8)}".strip("/"))
        try:
            yield from _check(place, probe)
        except (StoreRefused, StoreUnreachable, OSError) as error:
            yield Finding(f"store {place}", "error", " ".join(str(error).split()), _REMEDY)


def _check(place: Place, probe: Place) -> Iterator[Finding]:
    check, nonce = f"store {place}", secrets.token_bytes(16)
    store.check_bucket(place)
    store.put_bytes(probe, nonce)
    try:
        written, now = store.find(probe), time.time()
        same = store.read_object(probe) == nonce
        folder = Place(place.scheme, place.bucket, probe.key.rpartition("/")[0])
        listed = any(each.place == probe for each in store.list_objects(folder))
        seconds = [_time_request(probe) for _ in range(_ASKED)]
    finally:
        store.delete(probe)
    if not same or written is None:
        yield Finding(check, "error", "an object that was written cannot be read", "this store cannot be used")
        return
    yield Finding(check, "ok", "can be written, read and deleted")
    consistent = "" if listed else "use a store that lists objects as soon as they are written, such as S3 or GCS"
    found = "conditional put: not used; a new object is listed at once, as claims on outputs need"
    yield Finding(f"claims in {place}", "error" if consistent else "ok", found if listed else "not listed", consistent)
    yield _judge_speed(place, statistics.median(seconds))
    yield _judge_clock(place, written.written_ns / 1e9 - now)


def _time_request(probe: Place) -> float:
    begun = time.monotonic()
    store.find(probe)
    return time.monotonic() - begun


def _judge_speed(place: Place, seconds: float) -> Finding:
    slow = seconds > _SLOW_S
    remedy = "run jobs in the region of the bucket" if slow else ""
    return Finding(f"latency of {place}", "warning" if slow else "ok", f"{seconds * 1e3:,.0f} ms a request", remedy)


def _judge_clock(place: Place, difference: float) -> Finding:
    apart = abs(difference) > _SKEW_S
    remedy = "set the clock of this machine, e.g. by NTP: stores refuse requests from clocks 15 minutes apart"
    found = f"{abs(difference):,.0f} s from this machine's"
    return Finding(f"clock of {place}", "error" if apart else "ok", found, remedy if apart else "")
