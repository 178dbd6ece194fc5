"""The record of a benchmark: every lap, the machine and the versions of packages, in one JSON file."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil
from pydantic import ValidationError

from herbray import storage
from herbray.benchmark.harness.race import Case, Lap, Measures, Missing
from herbray.benchmark.harness.spec import BenchmarkSpec, Verdict
from herbray.config import Spec

_PACKAGES: Final = (
    "herbray",
    "torch",
    "torchvision",
    "ray",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "pillow",
    "simplejpeg",
    "faiss-cpu",
    "pytorch-metric-learning",
    "webdataset",
    "litdata",
    "pylance",
)


class Machine(Spec):
    """The machine on which a benchmark was run."""

    cpu: str
    cores: int
    memory_gib: float
    gpu: str | None
    system: str


class Entry(Spec):
    """One case: the unit, what is compared, the contenders in order, and the missing peers with the reasons."""

    case: str
    unit: str
    measures: Measures = "rate"  # default for older records, which lack this field
    contenders: tuple[str, ...] = ()  # likewise
    missing: dict[str, str]


class Record(Spec):
    """All that is kept of a run of a benchmark."""

    benchmark: str
    settings: dict[str, Any]
    when: str
    machine: Machine
    versions: dict[str, str]
    cases: tuple[Entry, ...]
    laps: tuple[Lap, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def load(self) -> float:
        """The highest load of all laps; see `Lap`."""
        return max((lap.load for lap in self.laps), default=0.0)


def make_record(spec: BenchmarkSpec, cases: Sequence[Case], laps: Sequence[Lap]) -> Record:
    """Make the record of a benchmark that was run on this machine just now."""
    entries = tuple(
        Entry(
            case=case.name,
            unit=case.unit,
            measures=case.measures,
            contenders=tuple(c.name for c in case.contenders if not isinstance(c, Missing)),
            missing={c.name: c.reason for c in case.contenders if isinstance(c, Missing)},
        )
        for case in cases
    )
    return Record(
        benchmark=spec.name,
        settings=spec.model_dump(mode="json"),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        versions=_read_versions(),
        cases=entries,
        laps=tuple(laps),
        verdicts=tuple(target.judge(laps) for target in spec.targets()),
    )


def write_record(done: Record, path: Path) -> None:
    """Write the JSON file, replacing an existing file in one step."""
    storage.write_text(path, done.model_dump_json(indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        ValueError: the file is not a record of a benchmark.
    """
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: not a record of a benchmark ({reason}); `herbray benchmark NAME` writes one"
        ) from None


def describe_machine() -> Machine:
    """Describe this machine, without its name or address."""
    return Machine(
        cpu=_describe_cpu(),
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        gpu=_describe_gpu(),
        system=f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}",
    )


def _describe_cpu() -> str:
    """Name of the processor; on Linux also its family and model, because some clouds give all processors one name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    name = facts.get("model name", platform.machine())
    numbers = [f"{key.removeprefix('cpu ')} {facts[key]}" for key in ("cpu family", "model") if key in facts]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _describe_gpu() -> str | None:
    import torch

    if not torch.cuda.is_available():
        return None
    count = torch.cuda.device_count()
    return f"{count} × {torch.cuda.get_device_name(0)}"


def _read_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an optional peer that is not installed: its case lists it as missing
            continue
    return found
