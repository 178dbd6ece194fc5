"""Where runs and models are kept: a tracking URI, and one MLflow client a URI."""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herbray.console import logs

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE: Final = "sqlite:///"
_ENVIRONMENT: Final = "MLFLOW_TRACKING_URI"
_SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a training run reports to its owner only
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model does not take along the uv.lock of whatever folder we are in
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_MLFLOW_NAME: Final = re.compile(r"[^\w.\- :/]")


def tracking_uri(folder: Path) -> str:
    """The tracking store to use: the environment's `MLFLOW_TRACKING_URI`, else an SQLite file in `folder`.

    Args:
        folder: holds `mlflow.db`; made if missing. Untouched where the environment names a store.

    Raises:
        ValueError: the path holds a `?`, which an SQLite URI cannot carry; or see `checked`.
    """
    if uri := os.environ.get(_ENVIRONMENT, "").strip():
        return refuse_credentials(uri)
    path = (folder / "mlflow.db").absolute()
    if "?" in str(path):
        raise ValueError(f"{path}: an SQLite store's path may not hold '?'; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"{_SQLITE}{path}"


def registry_uri(uri: str | None) -> str:
    """`uri`, else the environment's; MLflow's own default, a new database in the working directory, is refused.

    Raises:
        ValueError: neither is given, or the SQLite file does not exist (MLflow would make an empty one); or see
            `checked`.
    """
    uri = uri or os.environ.get(_ENVIRONMENT, "").strip()
    if not uri:
        raise ValueError(f"no model registry is named: set {_ENVIRONMENT}, or pass uri='sqlite:////folder/mlflow.db'")
    if (path := sqlite_file(uri)) is not None and not path.is_file():
        raise ValueError(f"{path}: no such MLflow store; is the path right? A run of `herbray train` makes one")
    return refuse_credentials(uri)


def refuse_credentials(uri: str) -> str:
    """`uri`, if it is no server's address with a password in it: MLflow repeats the address in its errors and logs.

    Raises:
        ValueError: it is; the message does not repeat it.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme in ("http", "https") and "@" in parts.netloc:
        raise ValueError(
            f"the tracking store's address holds a name or password, which would show in logs: take it out of "
            f"{_ENVIRONMENT} and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, also on the cluster's nodes"
        )
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The file behind an SQLite URI; None for a server or another database."""
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


@functools.lru_cache(maxsize=16)
def client(uri: str) -> "MlflowClient":
    """The client for one store, made once a process: the first use of an SQLite file migrates it (5 s).

    Processes of one host may open a new SQLite store together: the tables are made under a lock of ours, since with
    MLflow's alone a second process was seen to fail with "table already exists".
    """
    for setting, value in _SETTINGS.items():
        os.environ.setdefault(setting, value)
    logs.quiet_mlflow()  # of each migration and each signature
    # mlflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates, and its type hints warn on import:
    # neither is ours to mend, and where warnings are errors they would stop us.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        with _creation_lock(uri):
            made = MlflowClient(tracking_uri=uri, registry_uri=uri)
            if sqlite_file(uri) is not None:
                made.search_registered_models(max_results=1)  # opens the registry's side too, while we hold the lock
            return made


@contextlib.contextmanager
def _creation_lock(uri: str) -> Iterator[None]:
    """Hold the lock file beside an SQLite store; nothing for a server or another database."""
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{database}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, or the process ends
        yield


def entity_key(text: str, limit: int = 250) -> str:
    """`text` as MLflow allows a metric, parameter or tag to be named.

    An en dash, as in a pair of genera, becomes a hyphen. Any other character that MLflow refuses becomes `_`, and
    then, as when the name is too long, a digest of the whole is appended, so that distinct names stay distinct.
    """
    name = text.replace("–", "-")
    safe = re.sub(r"/+", "/", _MLFLOW_NAME.sub("_", name)).strip("/ ")
    safe = "/".join("_" if part in (".", "..", "") else part for part in safe.split("/"))
    if safe == name and len(safe) <= limit:
        return safe
    return f"{safe[: limit - 9]}-{digest(text)[:8]}"


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
