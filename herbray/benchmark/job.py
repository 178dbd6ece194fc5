"""The verb: run one benchmark, print its tables, keep its record."""

import tempfile
from pathlib import Path

from pydantic import Field
from rich.console import Console

from herbray.benchmark.harness.race import race
from herbray.benchmark.harness.record import Record, record, write
from herbray.benchmark.harness.table import show
from herbray.benchmark.registry import AnyBenchmark
from herbray.config import Spec


class Benchmark(Spec):
    """The job. `herbray benchmark NAME key=value` is short for `run.name=NAME run.key=value`."""

    run: AnyBenchmark = Field(description="which benchmark, and its settings")
    out: Path = Field(Path("runs/benchmark"), description="folder that receives the record")


def benchmark(spec: Benchmark) -> Path:
    """Race every case, print the outcome and write `out/NAME.json`.

    Returns:
        The record's path.

    Raises:
        ValueError: settings that do not fit, or contenders that do not compute the same thing.
    """
    done = measure(spec.run)
    show(done)
    path = spec.out / f"{spec.run.name}.json"
    write(done, path)
    return path


def measure(spec: AnyBenchmark) -> Record:
    """Race every case in a folder that is removed afterwards."""
    console = Console(stderr=True)
    cases, laps = [], []
    with tempfile.TemporaryDirectory(prefix="herbray-benchmark-") as work:
        for case in spec.cases(Path(work)):
            console.print(f"{spec.name}: {case.name} …", markup=False)
            laps += race(case, spec.rounds)
            cases.append(case)
    return record(spec, cases, laps)
