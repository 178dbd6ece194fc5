"""One promotion of a model at a time: MLflow's aliases know no compare-and-set, so whoever moves one holds a lock."""

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
"""Ending of the registered model whose existence is the lock of a server or of a database other than SQLite."""

_PATIENCE: Final = 15.0  # seconds; a lock is held while a few tags and a card are written
_PAUSE: Final = 0.1

_log = logging.getLogger(__name__)


class PromotionLocked(ValueError):
    """Another promotion of the model holds the lock; the message says whose it is and what to do."""


@contextmanager
def promotion_lock(uri: str, name: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the right to move a model's aliases.

    Beside an SQLite file the lock is `flock(2)` on a file: it ends with its holder, however that ends. Elsewhere it is
    a registered model `NAME.promotion-lock`, which exists while the lock is held: a database makes a name once, so of
    two jobs one makes it and the other is told. A job that is killed in that moment leaves it behind; nothing takes it
    away but a person, since whoever took away an "old" lock could take away a new one.

    It binds those who ask for it. Somebody who moves an alias on MLflow's page does not.

    Args:
        uri: the store.
        name: the registered model.
        patience: seconds to wait for another holder.

    Raises:
        PromotionHeld: it did not become free.
    """
    database = sqlite_file(uri)
    with _file_lock(database, name, patience) if database is not None else _model_lock(uri, name, patience):
        yield


@contextmanager
def _file_lock(database: Path, name: str, patience: float) -> Iterator[None]:
    readable = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)[:60]
    path = database.with_name(f".{database.name}.{readable}-{digest(name)[:8]}.promotion.lock")
    end = time.monotonic() + patience
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go with the file
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
def _model_lock(uri: str, name: str, patience: float) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    lock, end = f"{name}{LOCK_SUFFIX}", time.monotonic() + patience
    while True:
        try:
            client(uri).create_registered_model(
                lock, description=f"A lock of `herbray promote {name}`: {_describe_self()}"
            )
            break
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise  # the second comes where MLflow looks at the name that it collided with, and it has just gone
        if time.monotonic() > end:
            raise PromotionLocked(
                f"model {name!r} is being promoted by another job, which holds the registered model {lock!r}: try "
                "again; if that job (see the lock's description) was killed, delete that registered model"
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        try:
            client(uri).delete_registered_model(lock)
        except Exception:
            _log.exception("the registered model %r, a lock, could not be deleted: delete it by hand", lock)


def _describe_self() -> str:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": int(time.time())})


def _read_holder(file: IO[str]) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        file.seek(0)
        note = json.loads(file.read(4096))
        return f"pid {int(note['pid'])} on {note['host']}"
    return "another job that has just started"
