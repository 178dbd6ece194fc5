"""`herbray doctor`: checks machine, cluster and tracking store, and prints a remedy for each problem."""

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
from herbray.flow.doctor import access, buckets, machine, nodes, store, versions
from herbray.flow.doctor.finding import Finding, Status
from herbray.storage import show_all

_COLOURS: Final[dict[Status, str]] = {"ok": "green", "warning": "yellow", "error": "red"}


class ChecksFailed(ValueError):
    """At least one check found an error."""


class Doctor(Spec):
    """The settings of the checks. They write temporary files only, and remove them."""

    folders: tuple[Path, ...] = Field((Path("runs"),), description="folders that jobs write to")
    storage: Path | None = Field(None, description="folder that all nodes share; None: the first of `folders`")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    free_gb: float = Field(5, ge=0, description="free disk space that jobs need, in 10⁹ bytes")
    shared_gb: float = Field(1, ge=0, description="free shared memory that Ray's object store needs, in 10⁹ bytes")
    open_files: int = Field(4096, ge=1, description="open files that a process must be allowed to have")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="port of Ray's dashboard")
    timeout_s: float = Field(5, gt=0, description="seconds to wait for the response of a server")
    nodes_timeout_s: float = Field(60, gt=0, description="seconds for all nodes to start a worker and read a file")


@dataclass(frozen=True)
class Diagnosis:
    """All findings of checks that found no error."""

    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        """The number of findings of each status."""
        counts = Counter(finding.status for finding in self.findings)
        return ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status])


def doctor(spec: Doctor) -> Diagnosis:
    """Run all checks and print the table of findings.

    Raises:
        Unfit: a check found an error.
    """
    findings = tuple(run_checks(spec))
    Console().print(findings_table(findings))
    diagnosis = Diagnosis(findings)
    if any(finding.status == "error" for finding in findings):
        raise ChecksFailed(f"{diagnosis}; the table above lists the remedies")
    return diagnosis


def run_checks(spec: Doctor) -> Iterator[Finding]:
    """Run all checks, in the order of the table."""
    yield from versions.check_python()
    yield from versions.check_packages()
    yield from versions.check_pair()
    yield from machine.check_disk(spec.folders, spec.free_gb)
    yield from buckets.check_buckets((*spec.folders, *([spec.storage] if spec.storage else [])))
    yield from machine.check_shared_memory(spec.shared_gb)
    yield from machine.check_open_files(spec.open_files)
    yield from machine.check_gpu()
    yield from store.check_mlflow_store(os.environ, spec.store, spec.timeout_s)
    yield from access.check_token_mode(os.environ)
    yield from access.check_token_file(os.environ)
    yield from access.check_dashboard(os.environ, spec.dashboard_port, spec.timeout_s)
    yield from _check_cluster(spec)


def findings_table(findings: Sequence[Finding]) -> Table:
    """Findings as a table; their text is never interpreted as markup."""
    rows = Table("check", "", "found", "remedy", show_lines=False, pad_edge=False, box=None)
    for finding in findings:
        status = Text(finding.status, style=_COLOURS[finding.status])
        rows.add_row(
            *(Text(show_all(finding.check)), status, *(Text(show_all(t)) for t in (finding.found, finding.remedy)))
        )
    return rows


def _check_cluster(spec: Doctor) -> Iterator[Finding]:
    folder = spec.storage or next(iter(spec.folders), None)
    if folder is None:
        return
    if not (ray.is_initialized() or os.environ.get("RAY_ADDRESS")):
        yield Finding("storage on every node", "ok", "RAY_ADDRESS is not set: jobs run on this machine only")
        return
    try:
        with connection.connect():
            yield from nodes.check_nodes(folder, spec.nodes_timeout_s, spec.free_gb, spec.shared_gb)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        remedy = "check from within: `ray job submit --working-dir . -- python jobs/doctor.py jobs/doctor.yaml`"
        found = f"this process could not join the cluster ({type(error).__name__})"
        yield Finding("storage on every node", "warning", found, remedy)
