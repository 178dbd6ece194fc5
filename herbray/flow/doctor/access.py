"""Who may run code on the Ray cluster: token authentication, the token file, and where the dashboard listens."""

import ipaddress
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from herbray.flow.doctor.finding import Finding
from herbray.flow.doctor.web import fetch_status, origin_of

_START_REMEDY = "start the cluster with RAY_AUTH_MODE=token and a token file, as cluster/local/cluster.py does"


def check_token_mode(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether this shell turns on token authentication. A cluster that `herbray` starts itself always uses it."""
    mode, address = environment.get("RAY_AUTH_MODE", "").lower(), environment.get("RAY_ADDRESS", "")
    if mode == "token":
        yield Finding("Ray token mode", "ok", "RAY_AUTH_MODE=token")
    elif mode:
        remedy = "anyone who can reach Ray's ports can run code: set RAY_AUTH_MODE=token"
        yield Finding("Ray token mode", "error" if address else "warning", f"RAY_AUTH_MODE={mode}", remedy)
    elif address:
        yield Finding("Ray token mode", "warning", "RAY_ADDRESS is set, but RAY_AUTH_MODE is not", _START_REMEDY)
    else:
        yield Finding("Ray token mode", "ok", "RAY_ADDRESS is not set; a cluster that herbray starts uses a token")


def check_token_file(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the token exists and only its owner can read it. The token itself is never shown."""
    if environment.get("RAY_AUTH_TOKEN"):
        yield Finding(
            "Ray token", "ok", "in RAY_AUTH_TOKEN; every child process inherits it, which a token file avoids"
        )
        return
    named = environment.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    check = f"Ray token {path}"
    try:
        mode, empty = stat.S_IMODE(path.stat().st_mode), not path.stat().st_size
    except OSError:
        if named or (environment.get("RAY_AUTH_MODE", "").lower() == "token" and environment.get("RAY_ADDRESS")):
            yield Finding(check, "error", "no such file", "copy the cluster's token there, mode 600")
        else:
            yield Finding(check, "ok", "none yet; a cluster that herbray starts creates it")
        return
    if mode & 0o077:
        remedy = f"`chmod 600 {path}`; if other people use this machine, create a new token"
        yield Finding(check, "error", f"mode {mode:04o}: others can read it", remedy)
    elif empty:
        yield Finding(check, "error", "the file is empty", "write the cluster's token into it")
    else:
        yield Finding(check, "ok", f"mode {mode:04o}")


def check_dashboard(environment: Mapping[str, str], port: int, timeout_s: float) -> Iterator[Finding]:
    """Where the dashboard listens, and whether it lists jobs without a token.

    Whoever can list jobs can also submit one, and so run any code as the cluster's user.

    Args:
        environment: of the process.
        port: of the dashboard, if `RAY_ADDRESS` does not name the dashboard.
        timeout_s: seconds to wait for its response.
    """
    address = environment.get("RAY_ADDRESS", "")
    url = origin_of(address) if address.startswith(("http://", "https://")) else ""
    listens = _listening_addresses(port)
    if not (url or listens):
        yield Finding("Ray dashboard", "ok", f"nothing listens on port {port}")
        return
    url = url or f"http://127.0.0.1:{port}"
    status, answer = fetch_status(f"{url}/api/jobs/", {}, timeout_s)
    where = f"{url}, here on {', '.join(sorted(listens))}" if listens else url
    public = any(not ipaddress.ip_address(ip).is_loopback for ip in listens) or not _is_loopback(url)
    if status in (401, 403):
        yield Finding("Ray dashboard", "ok", f"{where}: requires a token")
    elif status == 0:
        remedy = (
            "check that the cluster is up, the port is right, and a tunnel is open if one is needed"
            if address
            else _START_REMEDY
        )
        yield Finding("Ray dashboard", "error" if address else "warning", f"{where}: no answer ({answer})", remedy)
    elif public:
        remedy = f"close the dashboard to the network: {_START_REMEDY}, and with --dashboard-host 127.0.0.1"
        yield Finding(
            "Ray dashboard", "error", f"{where}: needs no token and is open to the network (status {status})", remedy
        )
    else:
        yield Finding(
            "Ray dashboard",
            "warning",
            f"{where}: needs no token; every user of this machine can run code",
            _START_REMEDY,
        )


def _listening_addresses(port: int) -> set[str]:
    """Addresses of this machine on which a process listens at `port`."""
    try:
        sockets = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS allows it for root only
        return set()
    listening = [each.laddr for each in sockets if each.status == psutil.CONN_LISTEN and each.laddr]
    return {address.ip for address in listening if address.port == port}


def _is_loopback(url: str) -> bool:
    host = url.partition("://")[2].rpartition(":")[0] or url.partition("://")[2]
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
