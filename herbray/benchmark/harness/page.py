"""`docs/benchmark.md` from the records in a folder; remarks written by hand come from a folder of their own."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from herbray.benchmark.harness.record import Entry, Record, read
from herbray.benchmark.harness.table import MARKS, busy, header, rows
from herbray.benchmark.registry import BENCHMARKS

_HEAD = """# Benchmark

`herbray benchmark-page` writes this page from the records of `herbray benchmark NAME`; do not edit it. Each figure is
the median over interleaved rounds, with minimum and maximum. *CPU* and *time* are ratios within a round, median over
rounds: 2.00 × means that the contender costs twice as much as herbray. CPU time includes every process that takes
part. For a start, a first batch and the gap between epochs, seconds are given instead of rates. The clocks do not
resolve figures below 0.0001.
"""


def write_page(records: Path, page: Path, remarks: Path) -> int:
    """Write the page.

    Args:
        records: a folder; every `*.json` in it or below is a record.
        page: the Markdown file to write.
        remarks: a folder; `NAME.md` in it, where there is one, follows the tables of benchmark NAME.

    Returns:
        How many records there were.

    Raises:
        ValueError: there is none, or a file is no record.
    """
    done = [read(path) for path in sorted(records.rglob("*.json"))]
    if not done:
        raise ValueError(f"{records}: no record here; `herbray benchmark NAME out={records}` writes one")
    parts = [_HEAD]
    for name in sorted({one.benchmark for one in done}):
        parts.append(f"## {name}\n")
        parts += [_section(one) for one in done if one.benchmark == name]
        note = remarks / f"{name}.md"
        if note.is_file():
            parts.append(note.read_text(encoding="utf-8").strip() + "\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts), encoding="utf-8")
    return len(done)


def _section(done: Record) -> str:
    return "\n".join([*_about(done), *(line for entry in done.cases for line in _case(entry, done)), *_promises(done)])


def _about(done: Record) -> Iterator[str]:
    here = done.machine
    gpu = f", {here.gpu}" if here.gpu else ", no GPU"
    versions = ", ".join(f"{name} {number}" for name, number in done.versions.items())
    yield f"**{here.cores} cores of {here.cpu}, {here.memory_gib:g} GiB{gpu}**, {here.system}; {done.when[:10]}.  "
    yield f"`{command(done)}`  "
    yield f"{versions}.\n"
    if warning := busy(done):
        yield f"> {warning}\n"


def command(done: Record) -> str:
    """What measures the same again, for a shell: the settings that are not today's defaults, values as JSON.

    Of a benchmark that is not known here, all that are set.
    """
    kind = BENCHMARKS.get(done.benchmark)
    usual = {} if kind is None else kind(name=done.benchmark).model_dump(mode="json")
    told = {key: value for key, value in done.settings.items() if key != "name" and value != usual.get(key)}
    words = [shlex.quote(f"{key}={json.dumps(value)}") for key, value in told.items()]
    return " ".join(["herbray benchmark", done.benchmark, *words])


def _case(entry: Entry, done: Record) -> Iterator[str]:
    table = [header(entry), *rows(entry, done.laps)]
    yield f"### {entry.case}\n"
    yield from _table([list(row) for row in table])


def _promises(done: Record) -> Iterator[str]:
    if done.verdicts:
        yield "Promises:\n"
        told = [[v.case, v.promise, v.measured, f"**{MARKS[v.met]}**"] for v in done.verdicts]
        yield from _table([["case", "promise", "measured", ""], *told])


def _table(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table; columns that are empty below their name are left out."""
    kept = [i for i in range(len(cells[0])) if i == 0 or any(row[i] for row in cells[1:])]
    for number, row in enumerate(cells):
        yield "| " + " | ".join(row[i].replace("|", "\\|") for i in kept) + " |"
        if number == 0:
            yield "|" + "|".join("---" if i == 0 else "--:" for i in kept) + "|"
    yield ""
