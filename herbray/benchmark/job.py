"""The benchmark job: runs one benchmark, prints its tables and writes its record."""

import tempfile
from pathlib import Path

from pydantic import Field
from rich.console import Console

from herbray.benchmark.harness.race import race
from herbray.benchmark.harness.record import Record, make_record, write_record
from herbray.benchmark.harness.table import print_record
from herbray.benchmark.registry import AnyBenchmark
from herbray.config import Spec


class Benchmark(Spec):
    """The benchmark job. `herbray benchmark NAME key=value` is short for `run.name=NAME run.key=value`."""

    run: AnyBenchmark = Field(description="which benchmark, and its settings")
    out: Path = Field(Path("runs/benchmark"), description="folder that receives the record")


def benchmark(spec: Benchmark) -> Path:
    """Measure every case, print the tables and write `out/NAME.json`.

    Returns:
        The path of the record.

    Raises:
        ValueError: invalid settings, or contenders that do not compute the same results.
    """
    done = measure(spec.run)
    print_record(done)
    path = spec.out / f"{spec.run.name}.json"
    write_record(done, path)
    return path


def measure(spec: AnyBenchmark) -> Record:
    """Measure every case, in a working folder that is removed afterwards."""
    console = Console(stderr=True)
    cases, laps = [], []
    with tempfile.TemporaryDirectory(prefix="herbray-benchmark-") as work:
        for case in spec.cases(Path(work)):
            console.print(f"{spec.name}: {case.name} …", markup=False)
            laps += race(case, spec.rounds)
            cases.append(case)
    return make_record(spec, cases, laps)
