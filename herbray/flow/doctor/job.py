"""`herbray doctor`: whether machine, cluster and stores are fit for the jobs; each fault with its remedy."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ray
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from herbray.config import Spec
from herbray.flow.cluster import connection
from herbray.flow.doctor import access, machine, nodes, store, versions
from herbray.flow.doctor.finding import Finding, Status

_COLOURS: Final[dict[Status, str]] = {"ok": "green", "warning": "yellow", "error": "red"}


class Unfit(ValueError):
    """At least one check found an error."""


class Doctor(Spec):
    """The doctor's settings. Reads much, and writes only files that it removes again."""

    folders: tuple[Path, ...] = Field((Path("runs"),), description="that jobs write to")
    storage: Path | None = Field(None, description="that every node must see; None: the first of `folders`")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    free_gb: float = Field(5, ge=0, description="free disk that the jobs need, in 10⁹ bytes")
    shared_gb: float = Field(1, ge=0, description="free shared memory that Ray's object store needs")
    open_files: int = Field(4096, ge=1, description="that a process must be allowed")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="port of Ray's dashboard")
    timeout_s: float = Field(5, gt=0, description="for the answer of a server")
    nodes_timeout_s: float = Field(60, gt=0, description="for all nodes to start a worker and read a file")


@dataclass(frozen=True)
class Diagnosis:
    """All findings of a machine that is fit."""

    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        """How many of each kind."""
        counts = Counter(finding.status for finding in self.findings)
        return ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status])


def doctor(spec: Doctor) -> Diagnosis:
    """Make every check and print the table.

    Raises:
        Unfit: a check found an error.
    """
    findings = tuple(checks(spec))
    Console().print(table(findings))
    diagnosis = Diagnosis(findings)
    if any(finding.status == "error" for finding in findings):
        raise Unfit(f"{diagnosis}; the table above says what to do")
    return diagnosis


def checks(spec: Doctor) -> Iterator[Finding]:
    """Every check, in the order of the table."""
    here = os.environ
    yield from versions.python()
    yield from versions.packages()
    yield from versions.pair()
    yield from machine.disk(spec.folders, spec.free_gb)
    yield from machine.shared_memory(spec.shared_gb)
    yield from machine.open_files(spec.open_files)
    yield from machine.gpu()
    yield from store.mlflow_store(here, spec.store, spec.timeout_s)
    yield from access.token_mode(here)
    yield from access.token_file(here)
    yield from access.dashboard(here, spec.dashboard_port, spec.timeout_s)
    yield from _nodes(spec)


def table(findings: Sequence[Finding]) -> Table:
    """Findings as a table; their words are shown as they are, never read as markup."""
    made = Table("check", "", "found", "remedy", show_lines=False, pad_edge=False, box=None)
    for finding in findings:
        words = (finding.check, Text(finding.status, style=_COLOURS[finding.status]), finding.found, finding.remedy)
        made.add_row(*(word if isinstance(word, Text) else Text(word) for word in words))
    return made


def _nodes(spec: Doctor) -> Iterator[Finding]:
    folder = spec.storage or next(iter(spec.folders), None)
    if folder is None:
        return
    if not (ray.is_initialized() or os.environ.get("RAY_ADDRESS")):
        yield Finding("storage on every node", "ok", "no cluster is named by RAY_ADDRESS: this machine is all")
        return
    try:
        with connection.connected():
            yield from nodes.every(folder, spec.nodes_timeout_s, spec.free_gb, spec.shared_gb)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        submit = "ask from within: `ray job submit --working-dir . -- python jobs/doctor.py jobs/doctor.yaml`"
        told = f"this process could not join the cluster ({type(error).__name__})"
        yield Finding("storage on every node", "warning", told, submit)
