"""The MLflow store: whether it is reachable and writable."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from herbray.flow.doctor.finding import Finding
from herbray.flow.doctor.machine import check_disk
from herbray.flow.doctor.web import fetch_status, origin_of
from herbray.storage import is_remote
from herbray.tracking.store import refuse_credentials, sqlite_file

_CHECK = "MLflow store"
_REDIRECTED = (
    "the server redirects to another address: set MLFLOW_TRACKING_URI to that address if you trust it with the password"
)


def check_mlflow_store(environment: Mapping[str, str], folder: Path, timeout_s: float) -> Iterator[Finding]:
    """Check the store that jobs would use.

    Args:
        environment: of the process; its `MLFLOW_TRACKING_URI` takes precedence.
        folder: contains `mlflow.db`, if `MLFLOW_TRACKING_URI` is not set.
        timeout_s: seconds to wait for a response, or for another writer to finish.
    """
    uri = environment.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri and is_remote(folder):
        found = "MLFLOW_TRACKING_URI is not set, and MLflow's SQLite file cannot lie in a bucket"
        yield Finding(_CHECK, "error", found, "set MLFLOW_TRACKING_URI to the address of a tracking server")
        return
    try:
        uri = refuse_credentials(uri) if uri else f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    except ValueError as error:
        yield Finding(_CHECK, "error", "MLFLOW_TRACKING_URI holds a password", str(error))
        return
    database = sqlite_file(uri)
    if database is not None:
        yield _check_sqlite(database, timeout_s)
    elif uri.startswith(("http://", "https://")):
        yield _check_server(uri, environment, timeout_s)
    else:
        scheme = uri.partition(":")[0]
        yield Finding(_CHECK, "warning", f"stores of type {scheme!r} cannot be checked", "try a short `herbray train`")


def _check_sqlite(path: Path, timeout_s: float) -> Finding:
    check = f"{_CHECK} {path}"
    if not path.exists():
        found = next(check_disk([path.parent], 0))
        if found.status == "error":
            return Finding(check, "error", found.found, found.remedy)
        return Finding(check, "ok", "does not exist yet; the first job creates it")
    try:
        opened = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None)
        with contextlib.closing(opened) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("PRAGMA user_version").fetchone()
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        busy = "locked" in str(error)
        waits = "another job has locked it: SQLite is meant for one machine, use an MLflow server for several"
        broken = "make the file and its folder writable; if the file is damaged, restore a backup"
        remedy = waits if busy else broken
        return Finding(check, "warning" if busy else "error", str(error), remedy)
    return Finding(check, "ok", "a writable SQLite file, for jobs on one machine")


def _check_server(uri: str, environment: Mapping[str, str], timeout_s: float) -> Finding:
    """Check `/health` and the API: only the API checks the host name and the credentials."""
    shown, headers = origin_of(uri), _credentials(environment)
    status, answer = fetch_status(f"{uri.rstrip('/')}/health", headers, timeout_s)
    check = f"{_CHECK} {shown}"
    if status == 0:
        return Finding(
            check, "error", f"no answer ({answer})", "check that the server is up and MLFLOW_TRACKING_URI is right"
        )
    status, answer = fetch_status(
        f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1", headers, timeout_s
    )
    if status == 200:
        return Finding(check, "ok", "answers")
    remedy = {
        301: _REDIRECTED,
        302: _REDIRECTED,
        303: _REDIRECTED,
        307: _REDIRECTED,
        308: _REDIRECTED,
        401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, also on the nodes of the cluster",
        403: f"start the server with {shown.partition('://')[2]} in --allowed-hosts, or ask for permission",
        404: "check that this is an MLflow server and the path in MLFLOW_TRACKING_URI is right",
    }.get(status, "read the server's log: its database may be unreachable, or its disk full")
    return Finding(check, "error", f"status {status}: {' '.join(answer.split())[:100]}", remedy)


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The credentials that MLflow's own client would send."""
    user = environment.get("MLFLOW_TRACKING_USERNAME")
    if user:
        pair = f"{user}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
