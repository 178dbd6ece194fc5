"""Reads rates: from files of rates, and from the records of `herbray benchmark`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from herbray.benchmark.contests.step import FROM_MEMORY, FROM_SHARDS
from herbray.benchmark.harness.figures import spread
from herbray.benchmark.harness.record import Record, read_record
from herbray.benchmark.harness.table import contenders
from herbray.sizing.rates import Rate, Rates, Work

SHIPPED: Final = Path(__file__).with_name("measured")
"""Rates of machines on which herbray was measured."""

_FORWARD: Final = "herbray: decoded tensors, forward alone"
_SCALED: Final[dict[str, Work]] = {"catalogue from a table of labels": "catalogue", "splits and shard plan": "split"}


def read_rates(paths: Sequence[Path]) -> tuple[Rate, ...]:
    """Read rates, most trusted first.

    Args:
        paths: files of rates, records of `herbray benchmark`, or folders of both; missing ones are left out.

    Returns:
        The rates of the first path first, then those that ship with herbray.

    Raises:
        ValueError: a file is neither.
    """
    files = [file for path in [*paths, SHIPPED] for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    return tuple(rate for file in files if file.exists() for rate in _read_file(file))


def _read_file(path: Path) -> tuple[Rate, ...]:
    text = path.read_text(encoding="utf-8")
    try:
        return Rates.model_validate_json(text).rates
    except ValidationError:
        return tuple(rates_of_record(read_record(path)))


def rates_of_record(record: Record) -> list[Rate]:
    """The rates that a record holds; none of a benchmark that measures something else.

    `ingest` gives shard; `step` gives step, fed step; `embed` gives forward, fed forward; both give decode if the
    device is a GPU, so that the cores did nothing else; `scale` gives catalogue and split.
    """
    readers = {"ingest": _read_ingest, "step": _read_step, "embed": _read_embed, "scale": _read_scale}
    return list(readers[record.benchmark](record)) if record.benchmark in readers else []


def device_of(record: Record) -> str:
    """Name of the GPU that worked, or "cpu"."""
    return record.machine.gpu.partition(" × ")[2] if record.machine.gpu else "cpu"


def _rate(record: Record, case: str, contender: str, work: Work, **facts: Any) -> Iterator[Rate]:  # noqa: ANN401
    found = spread(record.laps, case, contender, "rate")
    if found is None:
        return
    about = {"machine": record.machine.cpu, "when": record.when[:10], "source": f"herbray benchmark {record.benchmark}"}
    yield Rate(**{"work": work, "per_s": found.median, "load": round(record.load, 2), **about, **facts})


def _read_ingest(record: Record) -> Iterator[Rate]:
    for entry in record.cases:
        if size := re.fullmatch(r"files of (\d+)×(\d+) px to shards", entry.case):
            facts = {"px": record.settings["side"], "cores": record.settings["workers"]}
            yield from _rate(record, entry.case, "herbray", "shard", sheet_px=int(size[1]) * int(size[2]), **facts)


def _read_step(record: Record) -> Iterator[Rate]:
    for entry in record.cases:
        if not (told := re.search(r"(\w+), \d+ images of (\d+) px a step$", entry.case)):
            continue
        facts = {"arch": record.settings["arch"], "objective": told[1], "px": int(told[2])}
        yield from _read_pair(record, entry.case, (FROM_SHARDS, FROM_MEMORY), ("fed step", "step"), facts)


def _read_embed(record: Record) -> Iterator[Rate]:
    for entry in record.cases:
        px = int(entry.case.removesuffix(" px").rpartition(" ")[2])
        facts = {"arch": record.settings["arch"], "px": px}
        yield from _read_pair(record, entry.case, ("herbray", _FORWARD), ("fed forward", "forward"), facts)


def _read_pair(
    record: Record, case: str, names: tuple[str, str], works: tuple[Work, Work], facts: dict[str, Any]
) -> Iterator[Rate]:
    """Rates with and without reading shards; beside a GPU, the difference of their CPU time is that of decoding."""
    place = {"device": device_of(record), "cores": record.machine.cores}
    if record.benchmark == "embed" and place["device"] == "cpu":
        place["cores"] = record.settings["threads"]
    for name, work in zip(names, works, strict=True):
        yield from _rate(record, case, name, work, **facts, **place)
    fed, ready = (spread(record.laps, case, name, "cpu_ms") for name in names)
    if place["device"] != "cpu" and fed and ready and fed.median > ready.median:
        decoding = 1000 / (fed.median - ready.median)
        yield from _rate(record, case, names[0], "decode", px=facts["px"], per_s=decoding)


def _read_scale(record: Record) -> Iterator[Rate]:
    """The rates of the largest size."""
    for entry in record.cases:
        if work := _SCALED.get(entry.case):
            yield from _rate(record, entry.case, contenders(entry, record.laps)[-1], work)
