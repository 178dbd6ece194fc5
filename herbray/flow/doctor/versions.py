"""Packages: whether the installed versions satisfy the requirements in herbray's metadata."""

import importlib.metadata
import platform
from collections.abc import Iterator
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from herbray.flow.doctor.finding import Finding

SHOWN: Final = ("ray", "mlflow", "torch", "torchvision")
"""Packages that always get a line; for others, only problems are reported."""

_INSTALL_LOCKED: Final = (
    "install the versions of requirements.lock: `make setup`, or `uv pip install -r requirements.lock`"
)


def check_python(package: str = "herbray") -> Iterator[Finding]:
    """Whether the interpreter satisfies the `Requires-Python` of a package."""
    wanted, found = importlib.metadata.metadata(package)["Requires-Python"] or "", platform.python_version()
    good = SpecifierSet(wanted).contains(found, prereleases=True)
    yield Finding("python", "ok" if good else "error", f"{found}, wanted {wanted}", "" if good else f"use {wanted}")


def check_packages(package: str = "herbray") -> Iterator[Finding]:
    """Check every package that `package` requires on this platform, without extras."""
    fine = 0
    for text in importlib.metadata.requires(package) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        finding = _check_package(requirement)
        fine += finding.status == "ok"
        if finding.status != "ok" or requirement.name in SHOWN:
            yield finding
    yield Finding("packages", "ok", f"{fine} satisfy the requirements of {package}")


def check_pair(dependent: str = "torchvision", base: str = "torch") -> Iterator[Finding]:
    """Whether two compiled packages were built for each other, according to the metadata of the dependent one."""
    check = f"{dependent} on {base}"
    try:
        texts = importlib.metadata.requires(dependent) or []
        found = importlib.metadata.version(base)
    except importlib.metadata.PackageNotFoundError as error:
        yield Finding(check, "error", f"{error.name} is not installed", _INSTALL_LOCKED)
        return
    for requirement in map(Requirement, texts):
        if requirement.name == base and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            good = requirement.specifier.contains(found, prereleases=True)
            remedy = "" if good else f"install {base} and {dependent} together, from one index"
            versions = f"{base} {found}, wanted {requirement.specifier or 'any'}"
            yield Finding(check, "ok" if good else "error", versions, remedy)


def _check_package(requirement: Requirement) -> Finding:
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            requirement.name, "error", f"not installed, wanted {requirement.specifier or 'any'}", _INSTALL_LOCKED
        )
    good = requirement.specifier.contains(found, prereleases=True)
    versions = f"{found}, wanted {requirement.specifier or 'any'}"
    return Finding(requirement.name, "ok" if good else "error", versions, "" if good else _INSTALL_LOCKED)
