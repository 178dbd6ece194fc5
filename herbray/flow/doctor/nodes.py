"""The nodes of the cluster: whether each sees the files that this one writes, runs the same versions, and has room."""

import importlib.metadata
import os
import platform
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from herbray.flow.doctor.finding import GB, Finding
from herbray.flow.doctor.machine import check_shared_memory

_SAME_EVERYWHERE: Final = ("ray", "torch", "herbray")
"""Packages, beside Python, that must be the same everywhere: objects and weights travel between nodes."""


@dataclass(frozen=True)
class NodeFacts:
    """What a task saw on its node.

    Attributes:
        host: its name.
        nonce: what the file says, or why it cannot be read.
        writable: whether the folder can be written.
        versions: of Python and the packages that must be alike; empty where one is missing.
        free: bytes on the folder's disk; None where there is no such folder.
        shared: the finding about shared memory.
    """

    host: str
    nonce: str
    writable: bool
    versions: Mapping[str, str]
    free: int | None
    shared: tuple[Finding, ...]


def check_nodes(folder: Path, timeout_s: float, free_gb: float, shared_gb: float) -> Iterator[Finding]:
    """Write a nonce and let one task a node read it and look around; wants a joined cluster.

    Args:
        folder: that every node must see under the same path; must exist.
        timeout_s: for all nodes together to start a worker and read.
        free_gb: free disk that the jobs need there, in 10⁹ bytes.
        shared_gb: free shared memory that Ray's object store needs, in 10⁹ bytes.
    """
    folder = folder.absolute()
    path, nonce = folder / f".herbray-doctor-{secrets.token_hex(8)}", secrets.token_hex(16)
    try:
        path.write_text(nonce, encoding="ascii")
    except OSError as error:
        yield Finding(f"storage {folder}", "error", f"cannot be written: {error.strerror}", f"`mkdir -p {folder}`")
        return
    try:
        for check, node, seen in _ask_nodes(path, shared_gb, timeout_s):
            if isinstance(seen, Finding):
                yield seen
                continue
            yield _storage_finding(check, path, nonce, seen)
            yield _versions_finding(node, seen, installed_versions())
            if seen.free is not None:
                yield _disk_finding(node, path.parent, seen.free, free_gb)
            yield from (replace(each, check=f"{each.check} on {node}") for each in seen.shared)
    finally:
        path.unlink(missing_ok=True)


def inspect_node(path: str, shared_gb: float) -> NodeFacts:
    """Runs on a node."""
    try:
        found = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        found = str(getattr(error, "strerror", None) or "not our file")
    folder = Path(path).parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else None
    shared = tuple(check_shared_memory(shared_gb))
    return NodeFacts(socket.gethostname(), found, os.access(folder, os.W_OK), installed_versions(), free, shared)


def installed_versions() -> dict[str, str]:
    """Of this process: Python, and the packages that must be alike everywhere."""
    found = {"python": platform.python_version()}
    for name in _SAME_EVERYWHERE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _ask_nodes(path: Path, shared_gb: float, timeout_s: float) -> Iterator[tuple[str, str, NodeFacts | Finding]]:
    """(check, node, what its task saw, or that it saw nothing), a node after the other."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    read: Any = ray.remote(num_cpus=0, max_retries=0)(inspect_node)
    asked: dict[Any, dict[str, Any]] = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[read.options(scheduling_strategy=there).remote(str(path), shared_gb)] = node
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    for ref in [*done, *late]:
        node = str(asked[ref]["NodeManagerAddress"])
        check = f"storage on {node}"
        if ref in late:
            ray.cancel(ref, force=True)
            silent = Finding(check, "error", f"no answer within {timeout_s:g} s", "is the node well? `ray status`")
            yield check, node, silent
            continue
        try:
            yield check, node, ray.get(ref)
        except ray.exceptions.RayError as error:
            remedy = "is the node well, and herbray installed there? `ray status`"
            yield check, node, Finding(check, "error", f"the task died: {type(error).__name__}", remedy)


def _storage_finding(check: str, path: Path, nonce: str, seen: NodeFacts) -> Finding:
    host, mount = seen.host, f"mount the same storage at {path.parent} on every node"
    if seen.nonce != nonce:
        return Finding(check, "error", f"{host} does not see {path.parent}: {seen.nonce[:80]}", mount)
    if not seen.writable:
        return Finding(check, "error", f"{host} may not write to {path.parent}", f"{mount}, writable for Ray's user")
    return Finding(check, "ok", f"{host} reads and may write {path.parent}")


def _versions_finding(node: str, seen: NodeFacts, wanted: Mapping[str, str]) -> Finding:
    """Whether a node runs what this process runs."""
    odd = [
        f"{name} {seen.versions.get(name) or 'missing'}, here {version or 'missing'}"
        for name, version in wanted.items()
        if seen.versions.get(name) != version
    ]
    if odd:
        remedy = "install the same there: what requirements.lock says, on every node"
        return Finding(f"versions on {node}", "error", f"{seen.host}: {'; '.join(odd)}", remedy)
    told = ", ".join(f"{name} {version}" for name, version in wanted.items())
    return Finding(f"versions on {node}", "ok", f"{seen.host}: {told}, as here")


def _disk_finding(node: str, folder: Path, free: int, free_gb: float) -> Finding:
    few = free / GB < free_gb
    remedy = f"make room: jobs there need {free_gb:g} GB" if few else ""
    return Finding(f"disk on {node}", "error" if few else "ok", f"{free / GB:,.1f} GB free in {folder}", remedy)
