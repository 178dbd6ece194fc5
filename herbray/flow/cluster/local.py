"""A Ray cluster on this machine for one job; it listens on the loopback interface only."""

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import ray
from ray._private import ray_constants

from herbray.exit_codes import Unreachable
from herbray.flow.cluster import worker_lines

HOST: Final = "127.0.0.1"


def start(dashboard: bool, cpus: int | None = None) -> None:
    """Start a cluster and join it. Its socket paths are short; its object store leaves memory for the job.

    Args:
        dashboard: start the dashboard too, for this machine only: Ray Train asks it which of its actors are alive.
        cpus: CPUs that the cluster offers; None: the number of cores, but at least 4, which two training workers and
            their input tasks need.

    Raises:
        Unreachable: Ray did not start in time.
    """
    _make_private_token()
    os.environ.setdefault(
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0"
    )  # this machine is not preemptible; saves a process
    store = int(min(2 * 2**30, max(200 * 2**20, psutil.virtual_memory().available * 0.1)))
    with _bind_to_loopback(), _fix_address(dashboard) as environment, _explain_slow_start():
        ray.init(
            address="local",
            num_cpus=cpus or max(4, os.cpu_count() or 1),
            object_store_memory=store,
            include_dashboard=dashboard,
            runtime_env=worker_lines.runtime_environment() | environment,
            _temp_dir=tempfile.mkdtemp(prefix="hb", dir=_short_tmp()),
            **worker_lines.logging_settings(),
        )


@contextmanager
def _explain_slow_start() -> Iterator[None]:
    """Ray gives its processes 30 s, which no setting changes."""
    try:
        yield
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        raise Unreachable(
            "Ray did not start within 30 s: this machine is busy or short of memory; the same command tries again"
        ) from None


@contextmanager
def _bind_to_loopback() -> Iterator[None]:
    """Make a cluster that is started in the body listen on 127.0.0.1 only; all its servers use the node's address.

    Ray has this switch for systems whose firewall asks the user about every listening program. Passing the address
    does not work: `ray.init(_node_ip_address="127.0.0.1")` uses the network address instead. Ray reads the variable
    when it is imported; the processes that it starts read the variable when they start.
    """
    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _set_variables({name: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _fix_address(dashboard: bool) -> Iterator[dict[str, Any]]:
    """Fix the address of a cluster with a dashboard; yield the runtime environment that names it to its processes.

    Ray's cleaner of placement groups frees the CPUs of stopped trials. Without `RAY_ADDRESS` it looks for the only
    cluster on this machine; if there are two, it dies, and a sweep waits for CPUs that nobody uses.
    """
    if not dashboard:
        yield {}
        return
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    with _set_variables({"RAY_GCS_SERVER_PORT": str(port)}):
        yield {"env_vars": {"RAY_ADDRESS": f"{HOST}:{port}"}}


@contextmanager
def _set_variables(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables while the body runs."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _make_private_token() -> None:
    """Create the token of clusters on this machine for its owner only: Ray would make the file readable by everyone."""
    path = Path.home() / ".ray" / "auth_token"
    if path.exists() or any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another job created it first
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))


def _short_tmp() -> str:
    """A temporary folder with a short path: Unix sockets allow 107 characters, of which Ray uses about 60."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 30 or sys.platform == "win32" else "/tmp"  # noqa: S108  (mkdtemp makes a private folder)
