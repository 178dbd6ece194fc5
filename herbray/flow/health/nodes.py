"""Storage: whether every node of the cluster sees the files that this one writes."""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from herbray.flow.health.finding import Finding


def storage(folder: Path, timeout_s: float) -> Iterator[Finding]:
    """Write a nonce and let one task a node read it; wants a joined cluster.

    Args:
        folder: that every node must see under the same path; must exist.
        timeout_s: for all nodes together to start a worker and read.
    """
    folder = folder.absolute()
    path, nonce = folder / f".herbray-doctor-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        path.write_text(nonce, encoding="ascii")
    except OSError as error:
        yield Finding(f"storage {folder}", "error", f"cannot be written: {error.strerror}", f"`mkdir -p {folder}`")
        return
    try:
        yield from _ask(path, nonce, timeout_s)
    finally:
        path.unlink(missing_ok=True)


def read_nonce(path: str) -> tuple[str, str, bool]:
    """Runs on a node: (host, what the file says or why it cannot be read, whether the folder can be written)."""
    try:
        found = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        found = str(getattr(error, "strerror", None) or "not our file")
    return socket.gethostname(), found, os.access(Path(path).parent, os.W_OK)


def _ask(path: Path, nonce: str, timeout_s: float) -> Iterator[Finding]:
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    read: Any = ray.remote(num_cpus=0, max_retries=0)(read_nonce)
    asked: dict[Any, dict[str, Any]] = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[read.options(scheduling_strategy=there).remote(str(path))] = node
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    for ref in [*done, *late]:
        check = f"storage on {asked[ref]['NodeManagerAddress']}"
        if ref in late:
            ray.cancel(ref, force=True)
            yield Finding(check, "error", f"no answer within {timeout_s:g} s", "is the node well? `ray status`")
            continue
        try:
            yield _judge(check, path, nonce, *ray.get(ref))
        except ray.exceptions.RayError as error:
            yield Finding(check, "error", f"the task died: {type(error).__name__}", "is the node well? `ray status`")


def _judge(check: str, path: Path, nonce: str, host: str, found: str, writable: bool) -> Finding:
    mount = f"mount the same storage at {path.parent} on every node"
    if found != nonce:
        return Finding(check, "error", f"{host} does not see {path.parent}: {found[:80]}", mount)
    if not writable:
        return Finding(check, "error", f"{host} may not write to {path.parent}", f"{mount}, writable for Ray's user")
    return Finding(check, "ok", f"{host} reads and may write {path.parent}")
