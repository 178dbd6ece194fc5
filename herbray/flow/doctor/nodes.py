"""The nodes of the cluster: whether each sees the shared folder, runs the same versions, and has free space."""

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

from herbray import storage
from herbray.flow.doctor.finding import GB, Finding
from herbray.flow.doctor.machine import check_shared_memory

_MARK: Final = ".herbray-doctor-"
_SAME_EVERYWHERE: Final = ("ray", "torch", "herbray")
"""Packages that, like Python, must have the same version on all nodes, which exchange objects and weights."""


@dataclass(frozen=True)
class NodeFacts:
    """What a task found on its node.

    Attributes:
        host: name of the node.
        nonce: content of the file, or why it cannot be read.
        writable: whether the folder is writable.
        versions: of Python and the packages of `_SAME_EVERYWHERE`; empty if a package is missing.
        free: free bytes on the folder's disk; None if the folder does not exist.
        shared: the finding about shared memory.
    """

    host: str
    nonce: str
    writable: bool
    versions: Mapping[str, str]
    free: int | None
    shared: tuple[Finding, ...]


def check_nodes(folder: Path, timeout_s: float, free_gb: float, shared_gb: float) -> Iterator[Finding]:
    """Write a random nonce into the shared folder, and run one task per node that reads it. Needs a joined cluster.

    Args:
        folder: that all nodes share under the same path; must exist.
        timeout_s: seconds for all nodes to start a worker and read.
        free_gb: free disk space that jobs need there, in 10⁹ bytes.
        shared_gb: free shared memory that Ray's object store needs, in 10⁹ bytes.
    """
    folder = folder.absolute()
    path, nonce = folder / f"{_MARK}{secrets.token_hex(8)}", secrets.token_hex(16)
    if storage.is_remote(folder):  # a name that begins with a dot is a working file of this machine
        path = folder / path.name.removeprefix(".")
    try:
        _write(path, nonce)
    except (OSError, storage.StoreRefused) as error:
        reason = getattr(error, "strerror", None) or error
        yield Finding(f"storage {storage.show(folder)}", "error", f"not writable: {reason}", f"`mkdir -p {folder}`")
        return
    try:
        for check, node, facts in _ask_nodes(path, shared_gb, timeout_s):
            if isinstance(facts, Finding):
                yield facts
                continue
            yield _storage_finding(check, path, nonce, facts)
            yield _versions_finding(node, facts, installed_versions())
            if facts.free is not None:
                yield _disk_finding(node, path.parent, facts.free, free_gb)
            yield from (replace(each, check=f"{each.check} on {node}") for each in facts.shared)
    finally:
        storage.remove(path)


def _write(path: Path, nonce: str) -> None:
    if storage.is_remote(path):
        storage.write_text(path, nonce)
    else:
        path.write_text(nonce, encoding="ascii")


def inspect_node(path: str, shared_gb: float) -> NodeFacts:
    """The task that runs on each node; `path` is the file with the nonce."""
    try:
        found = storage.read_bytes(Path(path)).decode("ascii")
    except (OSError, UnicodeDecodeError, storage.StoreRefused) as error:
        found = str(getattr(error, "strerror", None) or "not the file that was written")
    folder = Path(path).parent  # of an object: where its local copy lies
    free = shutil.disk_usage(folder).free if folder.is_dir() else None
    shared = tuple(check_shared_memory(shared_gb))
    return NodeFacts(socket.gethostname(), found, os.access(folder, os.W_OK), installed_versions(), free, shared)


def installed_versions() -> dict[str, str]:
    """Versions of Python and the packages of `_SAME_EVERYWHERE` in this process."""
    found = {"python": platform.python_version()}
    for name in _SAME_EVERYWHERE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _ask_nodes(path: Path, shared_gb: float, timeout_s: float) -> Iterator[tuple[str, str, NodeFacts | Finding]]:
    """Run the task on every node; yield (check, node, its facts, or a finding if the task failed)."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    task: Any = ray.remote(num_cpus=0, max_retries=0)(inspect_node)
    asked: dict[Any, dict[str, Any]] = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[task.options(scheduling_strategy=there).remote(str(path), shared_gb)] = node
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    for ref in [*done, *late]:
        node = str(asked[ref]["NodeManagerAddress"])
        check = f"storage on {node}"
        if ref in late:
            ray.cancel(ref, force=True)
            silent = Finding(check, "error", f"no answer within {timeout_s:g} s", "check the node with `ray status`")
            yield check, node, silent
            continue
        try:
            yield check, node, ray.get(ref)
        except ray.exceptions.RayError as error:
            remedy = "check the node with `ray status`, and that herbray is installed there"
            yield check, node, Finding(check, "error", f"the task died: {type(error).__name__}", remedy)


def _storage_finding(check: str, path: Path, nonce: str, facts: NodeFacts) -> Finding:
    host, mount = facts.host, f"mount the same storage at {path.parent} on every node"
    if facts.nonce != nonce:
        return Finding(check, "error", f"{host} does not see {path.parent}: {facts.nonce[:80]}", mount)
    if not facts.writable:
        return Finding(check, "error", f"{host} cannot write to {path.parent}", f"{mount}, writable for Ray's user")
    return Finding(check, "ok", f"{host} can read and write {path.parent}")


def _versions_finding(node: str, facts: NodeFacts, wanted: Mapping[str, str]) -> Finding:
    """Whether a node runs the same versions as this process."""
    odd = [
        f"{name} {facts.versions.get(name) or 'missing'}, here {version or 'missing'}"
        for name, version in wanted.items()
        if facts.versions.get(name) != version
    ]
    if odd:
        remedy = "install the versions of requirements.lock on every node"
        return Finding(f"versions on {node}", "error", f"{facts.host}: {'; '.join(odd)}", remedy)
    same = ", ".join(f"{name} {version}" for name, version in wanted.items())
    return Finding(f"versions on {node}", "ok", f"{facts.host}: {same}, as here")


def _disk_finding(node: str, folder: Path, free: int, free_gb: float) -> Finding:
    few = free / GB < free_gb
    remedy = f"free up disk space: jobs need {free_gb:g} GB there" if few else ""
    return Finding(f"disk on {node}", "error" if few else "ok", f"{free / GB:,.1f} GB free in {folder}", remedy)
