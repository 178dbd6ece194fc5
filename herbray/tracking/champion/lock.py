"""A lock for promotions: MLflow has no compare-and-set for aliases, so a job that moves an alias holds the lock."""

import contextlib
import fcntl
import json
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from herbray.tracking.store import client, digest, sqlite_file

LOCK_SUFFIX: Final = ".promotion-lock"
"""Suffix of the registered model that serves as the lock on a server or a database other than SQLite."""

_PATIENCE: Final = 15.0  # seconds; the lock is held only while a few tags and a card are written
_PAUSE: Final = 0.1

_log = logging.getLogger(__name__)


class PromotionLocked(ValueError):
    """Another promotion of the model holds the lock; the message says which one and what to do."""


@contextmanager
def promotion_lock(uri: str, name: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock for moving the aliases of a model.

    For an SQLite store, the lock is `flock(2)` on a file next to the database, which is released when the holder exits,
    even if it is killed. Elsewhere the lock is a registered model `NAME.promotion-lock`, which exists while the lock is
    held: names are unique in the database, so only one of two jobs can create it. A job that is killed while it holds
    the lock leaves the registered model behind. A person must delete it: a job that deleted an "old" lock could delete
    a new one.

    The lock is advisory: it does not stop someone who moves an alias in the MLflow UI.

    Args:
        uri: the store.
        name: the registered model.
        patience: seconds to wait if the lock is taken.

    Raises:
        PromotionLocked: the lock was not released in time.
    """
    database = sqlite_file(uri)
    with file_lock(database, name, patience) if database is not None else model_lock(uri, name, patience):
        yield


@contextmanager
def file_lock(database: Path, name: str, patience: float) -> Iterator[None]:
    """Hold a lock by a file next to the store."""
    readable = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:60]
    path = database.with_name(f".{database.name}.{readable}-{digest(name)[:8]}.promotion.lock")
    end = time.monotonic() + patience
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the file is closed
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise PromotionLocked(
                        f"model {name!r} is being promoted by {_read_holder(file)}: try again"
                    ) from None
                time.sleep(_PAUSE)
        file.truncate(0)
        file.write(_describe_self())
        file.flush()
        yield


@contextmanager
def model_lock(uri: str, name: str, patience: float) -> Iterator[None]:
    """Hold a lock that is a registered model of its own: only one process can create it."""
    from mlflow.exceptions import MlflowException

    lock, end = f"{name}{LOCK_SUFFIX}", time.monotonic() + patience
    while True:
        try:
            client(uri).create_registered_model(
                lock, description=f"Lock of `herbray promote {name}`: {_describe_self()}"
            )
            break
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise  # DOES_NOT_EXIST: the lock was released between the collision and MLflow's look-up of the name
        if time.monotonic() > end:
            raise PromotionLocked(
                f"model {name!r} is being promoted by another job, whose lock is the registered model {lock!r}: try "
                "again; if that job was killed (see the description of the lock), delete the registered model"
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        try:
            client(uri).delete_registered_model(lock)
        except Exception:
            _log.exception("the lock, registered model %r, could not be deleted: delete it by hand", lock)


def _describe_self() -> str:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": int(time.time())})


def _read_holder(file: IO[str]) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        file.seek(0)
        note = json.loads(file.read(4096))
        return f"pid {int(note['pid'])} on {note['host']}"
    return "another job that has just started"
