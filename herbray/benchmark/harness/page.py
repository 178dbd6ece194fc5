"""The page `docs/benchmark.md`, written from the records in one folder and handwritten remarks in another."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from herbray.benchmark.harness.record import Entry, Record, read_record
from herbray.benchmark.harness.table import MARKS, describe_load, header, rows
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
        records: a folder; every `*.json` in it or in its subfolders is a record.
        page: the Markdown file to write.
        remarks: a folder; its file `NAME.md`, if it exists, follows the tables of benchmark NAME.

    Returns:
        The number of records.

    Raises:
        ValueError: there is no record, or a file is not a record.
    """
    done = [read_record(path) for path in sorted(records.rglob("*.json"))]
    if not done:
        raise ValueError(f"{records}: no records in this folder; `herbray benchmark NAME out={records}` writes one")
    parts = [_HEAD]
    for name in sorted({each.benchmark for each in done}):
        parts.append(f"## {name}\n")
        parts += [_section(each) for each in done if each.benchmark == name]
        note = remarks / f"{name}.md"
        if note.is_file():
            parts.append(note.read_text(encoding="utf-8").strip() + "\n")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts), encoding="utf-8")
    return len(done)


def _section(done: Record) -> str:
    return "\n".join(
        [*_describe_run(done), *(line for entry in done.cases for line in _case(entry, done)), *_verdicts(done)]
    )


def _describe_run(done: Record) -> Iterator[str]:
    here = done.machine
    gpu = f", {here.gpu}" if here.gpu else ", no GPU"
    versions = ", ".join(f"{name} {number}" for name, number in done.versions.items())
    yield f"**{here.cores} cores of {here.cpu}, {here.memory_gib:g} GiB{gpu}**, {here.system}; {done.when[:10]}.  "
    yield f"`{command(done)}`  "
    yield f"{versions}.\n"
    if warning := describe_load(done):
        yield f"> {warning}\n"


def command(done: Record) -> str:
    """The shell command that repeats a measurement: the settings that differ from today's defaults, as JSON.

    For a benchmark that no longer exists, all settings are given.
    """
    kind = BENCHMARKS.get(done.benchmark)
    defaults = {} if kind is None else kind(name=done.benchmark).model_dump(mode="json")
    changed = {key: value for key, value in done.settings.items() if key != "name" and value != defaults.get(key)}
    words = [shlex.quote(f"{key}={json.dumps(value)}") for key, value in changed.items()]
    return " ".join(["herbray benchmark", done.benchmark, *words])


def _case(entry: Entry, done: Record) -> Iterator[str]:
    table = [header(entry), *rows(entry, done.laps)]
    yield f"### {entry.case}\n"
    yield from _table([list(row) for row in table])


def _verdicts(done: Record) -> Iterator[str]:
    if done.verdicts:
        yield "Promises:\n"
        cells = [[v.case, v.promise, v.measured, f"**{MARKS[v.met]}**"] for v in done.verdicts]
        yield from _table([["case", "promise", "measured", ""], *cells])


def _table(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table without the columns that have only a heading."""
    kept = [i for i in range(len(cells[0])) if i == 0 or any(row[i] for row in cells[1:])]
    for number, row in enumerate(cells):
        yield "| " + " | ".join(row[i].replace("|", "\\|") for i in kept) + " |"
        if number == 0:
            yield "|" + "|".join("---" if i == 0 else "--:" for i in kept) + "|"
    yield ""
