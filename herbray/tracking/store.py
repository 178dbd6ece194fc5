"""The store of runs and models: the tracking URI, and one MLflow client per URI."""

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

from herbray import storage
from herbray.console import logs

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE: Final = "sqlite:///"
_ENVIRONMENT: Final = "MLFLOW_TRACKING_URI"
_SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a training run reports only to its owner
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model must not include the uv.lock of the working directory
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_MLFLOW_NAME: Final = re.compile(r"[^\w.\- :/]")


def tracking_uri(folder: Path) -> str:
    """The tracking store to use: the environment variable `MLFLOW_TRACKING_URI`, else an SQLite file in `folder`.

    Args:
        folder: folder of `mlflow.db`, created if missing. Not used if the environment variable is set.

    Raises:
        ValueError: the folder is an address; the path contains a `?`, which is not possible in an SQLite URI; or see
            `refuse_credentials`.
    """
    if uri := os.environ.get(_ENVIRONMENT, "").strip():
        return refuse_credentials(uri)
    path = (folder / "mlflow.db").absolute()
    if storage.is_remote(folder):
        raise ValueError(
            f"store: MLflow's SQLite file cannot lie in a bucket ({storage.show(folder)}): set {_ENVIRONMENT} to the "
            "address of a tracking server, or store to the absolute path of a folder on a disk"
        )
    if "?" in str(path):
        raise ValueError(f"{path}: the path of an SQLite store must not contain '?'; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"{_SQLITE}{path}"


def registry_uri(uri: str | None) -> str:
    """`uri`, else the environment variable; the default of MLflow, a new database in the working directory, is refused.

    Raises:
        ValueError: neither is given; the SQLite file does not exist (MLflow would create an empty one); or see
            `refuse_credentials`.
    """
    uri = uri or os.environ.get(_ENVIRONMENT, "").strip()
    if not uri:
        raise ValueError(f"no model registry is given: set {_ENVIRONMENT}, or pass uri='sqlite:////folder/mlflow.db'")
    if (path := sqlite_file(uri)) is not None and not path.is_file():
        raise ValueError(f"{path}: no such MLflow store; check the path, or create a store with `herbray train`")
    return refuse_credentials(uri)


def refuse_credentials(uri: str) -> str:
    """Return `uri`; refuse a server address with a name or password, because MLflow shows addresses in errors and logs.

    Raises:
        ValueError: the address contains a name or password; the message does not repeat the address.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme in ("http", "https") and "@" in parts.netloc:
        raise ValueError(
            "the address of the tracking store contains a name or password, which would appear in logs: remove it from "
            f"{_ENVIRONMENT}, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, on every node of a cluster"
        )
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite URI; None for a server or another database."""
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


@functools.lru_cache(maxsize=16)
def client(uri: str) -> "MlflowClient":
    """The client of a store, created once per process: the first use of an SQLite file migrates it (5 s).

    Several processes of one host may open a new SQLite store at the same time. Its tables are created under a lock,
    because with MLflow alone a second process failed with "table already exists".
    """
    for setting, value in _SETTINGS.items():
        os.environ.setdefault(setting, value)
    logs.quiet_mlflow()  # it logs each migration and each signature
    # mlflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates, and its type hints warn on import.
    # herbray cannot fix either; if warnings are errors, they would stop the import.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        with _creation_lock(uri):
            made = MlflowClient(tracking_uri=uri, registry_uri=uri)
            if sqlite_file(uri) is not None:
                made.search_registered_models(max_results=1)  # also opens the registry while the lock is held
            return made


@contextlib.contextmanager
def _creation_lock(uri: str) -> Iterator[None]:
    """Hold the lock file next to an SQLite store; do nothing for a server or another database."""
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{database}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed or the process ends
        yield


def entity_key(text: str, limit: int = 250) -> str:
    """Convert `text` to a valid MLflow name of a metric, parameter or tag.

    An en dash, as in a pair of genera, becomes a hyphen. Any other character that MLflow refuses becomes `_`. If
    characters were replaced or the name is too long, a digest of the text is appended to keep names distinct.
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
