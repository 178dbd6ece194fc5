"""The MLflow store: whether it answers us, and whether we may write to it."""

import base64
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from herbray.flow.doctor.finding import Finding
from herbray.flow.doctor.machine import check_disk
from herbray.flow.doctor.web import fetch_status, origin_of
from herbray.tracking.store import checked, sqlite_file

_CHECK = "MLflow store"
_REDIRECTED = "it points to another address: name that one in MLFLOW_TRACKING_URI, if you trust it with the password"


def check_mlflow_store(environment: Mapping[str, str], folder: Path, timeout_s: float) -> Iterator[Finding]:
    """The store that jobs would use.

    Args:
        environment: of the process; its `MLFLOW_TRACKING_URI` wins.
        folder: holds `mlflow.db` otherwise.
        timeout_s: for an answer, or for another writer to finish.
    """
    uri = environment.get("MLFLOW_TRACKING_URI", "").strip()
    try:
        uri = checked(uri) if uri else f"sqlite:///{(folder / 'mlflow.db').absolute()}"
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
        yield Finding(_CHECK, "warning", f"{scheme!r} cannot be looked into from here", "try a short `herbray train`")


def _check_sqlite(path: Path, timeout_s: float) -> Finding:
    check = f"{_CHECK} {path}"
    if not path.exists():
        found = next(check_disk([path.parent], 0))
        if found.status == "error":
            return Finding(check, "error", found.found, found.remedy)
        return Finding(check, "ok", "not there yet; the first job makes it")
    try:
        opened = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None)
        with contextlib.closing(opened) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("PRAGMA user_version").fetchone()
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        busy = "locked" in str(error)
        waits = "another job writes to it for long: SQLite serves one machine, a server many"
        broken = "file and folder must be ours to write; if the file is damaged, bring back a copy"
        remedy = waits if busy else broken
        return Finding(check, "warning" if busy else "error", str(error), remedy)
    return Finding(check, "ok", "an SQLite file that can be written: for jobs of one machine")


def _check_server(uri: str, environment: Mapping[str, str], timeout_s: float) -> Finding:
    """`/health` is open to every host name; the API is not, so both are asked."""
    shown, headers = origin_of(uri), _credentials(environment)
    status, answer = fetch_status(f"{uri.rstrip('/')}/health", headers, timeout_s)
    check = f"{_CHECK} {shown}"
    if status == 0:
        return Finding(check, "error", f"no answer ({answer})", "is the server up, and MLFLOW_TRACKING_URI right?")
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
        401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, also on the cluster's nodes",
        403: f"start the server with --allowed-hosts that names {shown.partition('://')[2]}, or ask for permission",
        404: "is this an MLflow server, and the path in MLFLOW_TRACKING_URI right?",
    }.get(status, "look at the server's log: is its database reachable, its disk full?")
    return Finding(check, "error", f"status {status}: {' '.join(answer.split())[:100]}", remedy)


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's own client would send."""
    user = environment.get("MLFLOW_TRACKING_USERNAME")
    if user:
        pair = f"{user}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
