"""The error of `herbray plan` on this machine: what it predicts beside what each verb takes, on a drawn herbarium.

    .venv/bin/python docs/generator/plan_error.py --sheets 1500 --arch mobilenet_v3_small --size 32

The rates of a verb and its start are measured right before it runs, because other work on the machine changes both. CPU
time is compared too: it depends less on that work. A start counts as if it took one core.
Prints a Markdown table, and writes the figures to `OUT/error.json` after each verb.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from herbray.benchmark.harness.record import describe_machine
from herbray.config import parse
from herbray.sizing.measure import measure_rates
from herbray.sizing.specification import Plan
from herbray.sizing.starts import expect, job_settings, measure_start, prepare_tiny, run_verb

MEASURES: Final = {
    "catalogue": ("labels",),
    "shard": ("labels", "sheets"),
    "train": ("sheets", "steps", "embedding"),
    "embed": ("sheets", "embedding"),
    "evaluate": ("probes",),
}
"""Verb → what is measured before it."""

_ON_RAY: Final = ("shard", "evaluate")


@dataclass(frozen=True)
class Outcome:
    """One verb.

    Attributes:
        verb: its name.
        units: images or rows.
        binds: the resource that sets the pace, as predicted.
        start_s: seconds of its start, measured.
        predicted_s: seconds from call to end, predicted.
        actual_s: likewise, measured.
        predicted_cpu_s: seconds of CPU time, predicted; None where processes of a Ray cluster hide it.
        actual_cpu_s: likewise, measured.
        load: load average per core when it ended.
    """

    verb: str
    units: int
    binds: str
    start_s: float
    predicted_s: float
    actual_s: float
    predicted_cpu_s: float | None
    actual_cpu_s: float | None
    load: float

    @property
    def error(self) -> float:
        """Of the predicted time, as a share of the measured one."""
        return self.predicted_s / self.actual_s - 1

    @property
    def cpu_error(self) -> float | None:
        """Likewise of CPU time."""
        if self.predicted_cpu_s is None or self.actual_cpu_s is None:
            return None
        return self.predicted_cpu_s / self.actual_cpu_s - 1


def compare_verbs(spec: Plan, sheets: int, px: int, epochs: int, work: Path) -> Iterator[Outcome]:
    """Measure the rates of each verb, predict its time, and run it."""
    folders = {name: work / name for name in ("tiny", "full")}
    tiny = prepare_tiny(spec, folders["tiny"])
    full = prepare_tiny(spec, folders["full"], sheets, px, epochs)
    first, second = (job_settings(each, folders[name]) for name, each in (("tiny", tiny), ("full", full)))
    for verb, measures in MEASURES.items():
        rates = measure_rates(full, measures)
        start = measure_start(verb, first[verb], folders["tiny"], expect(tiny, rates)[verb])
        predicted = expect(full, [*rates, start])[verb]
        quiet = expect(full, [*rates, start], loaded=False)[verb]
        spent = run_verb(verb, second[verb], folders["full"])
        if predicted.total_s is None or quiet.total_s is None:
            raise RuntimeError(f"{verb}: not measured: {predicted.missing}")
        cores = 1 if verb == "catalogue" else os.cpu_count() or 1
        cpu = None if verb in _ON_RAY else quiet.alone + cores * (quiet.total_s - quiet.alone)
        yield Outcome(
            verb,
            predicted.images,
            predicted.binds,
            1 / start.per_s,
            predicted.total_s,
            spent.wall_s,
            cpu,
            None if cpu is None else spent.cpu_s,
            os.getloadavg()[0] / (os.cpu_count() or 1),
        )


def table(outcomes: list[Outcome]) -> str:
    """The outcomes in Markdown."""
    names = (
        "units",
        "binds",
        "start",
        "predicted",
        "measured",
        "error",
        "CPU predicted",
        "CPU measured",
        "error",
        "load",
    )
    lines = [f"| verb | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for each in outcomes:
        wall = [f"{value:.1f} s" for value in (each.start_s, each.predicted_s, each.actual_s)]
        cpu = ["–" if value is None else f"{value:.1f} s" for value in (each.predicted_cpu_s, each.actual_cpu_s)]
        errors = ["–" if value is None else f"{value:+.0%}" for value in (each.error, each.cpu_error)]
        cells = (each.verb, f"{each.units:,}", each.binds, *wall, errors[0], *cpu, errors[1], f"{each.load:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all verbs and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sheets", type=int, default=1500)
    parser.add_argument("--px", type=int, default=160, help="short side of the drawn sheets")
    parser.add_argument("--arch", default="mobilenet_v3_small")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("build/plan-error"))
    given = parser.parse_args()
    tree = {
        "shard": {"side": given.size * 9 // 8, "bag": 8, "file_rows": 256},
        "train": {
            "encoder": {"arch": given.arch, "size": given.size},
            "stream": {"batch": 32, "window": 16},
            "workers": 0,
        },
        "embed": {"actors": 0},
    }
    given.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="herbray-plan-error-") as folder:
        for outcome in compare_verbs(parse(Plan, tree), given.sheets, given.px, given.epochs, Path(folder)):
            outcomes.append(outcome)
            told = {"machine": describe_machine().model_dump(), "settings": vars(given) | {"out": str(given.out)}}
            told |= {"verbs": [asdict(each) | {"error": each.error, "cpu_error": each.cpu_error} for each in outcomes]}
            (given.out / "error.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            print(table(outcomes), flush=True)


if __name__ == "__main__":
    main()
