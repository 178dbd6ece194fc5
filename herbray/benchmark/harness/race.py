"""The race: contenders do the same work in turn, round by round, and each lap's wall time and CPU time are measured."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

Measures = Literal["rate", "seconds", "stages"]
"""What a case compares: units per second, or seconds per unit if the work is not repeated, such as a start; or nothing:
the contenders are the stages of one run."""


@dataclass(frozen=True)
class Measured:
    """A measurement that a contender made itself, because its work ran in another process."""

    units: int
    wall_s: float
    cpu_s: float | None  # None: could not be separated from the CPU time of other work
    peak_mib: float | None = None
    processes: dict[str, float] | None = None  # peak memory of single processes in MiB, by role
    written_mb: float | None = None


def _close_nothing() -> None:
    """The `close` of a contender that holds nothing."""


@dataclass(frozen=True)
class Contender:
    """One way to do a case's work.

    Attributes:
        name: "herbray", or "herbray: …" for a variant of ours; otherwise the peer's name.
        run: does the work once on prepared inputs; returns the number of units processed, or its own measurement.
        close: releases what `run` holds: processes, files.
    """

    name: str
    run: Callable[[], int | Measured]
    close: Callable[[], None] = _close_nothing


@dataclass(frozen=True)
class Missing:
    """A peer that is not available; `reason` says why and what to do. Missing peers are always printed."""

    name: str
    reason: str


@dataclass(frozen=True)
class Case:
    """The same work for all contenders.

    Attributes:
        name: the work, such as "decode to 256 px, 24 megapixels".
        unit: what is counted: "images", "triplets", "queries".
        contenders: the contenders, and the peers that are missing.
        check: raises if the contenders do not compute the same result; called once, before the first round.
        least_s: a contender repeats its work until so many seconds have passed.
        measures: which figures are printed. Stages run once each, in their order and without a warm-up.
    """

    name: str
    unit: str
    contenders: Sequence[Contender | Missing]
    check: Callable[[], None] | None = None
    least_s: float = 0.0
    measures: Measures = "rate"


@dataclass(frozen=True)
class Lap:
    """One contender, one round.

    Attributes:
        case: name of the case.
        contender: name of the contender.
        round: number of the round, from 1; the warm-up is not kept.
        units: units processed in the lap.
        wall_s: seconds of wall time.
        cpu_s: user and system seconds of this process and its descendants, Ray's workers included; None if the
            contender did not measure them.
        load: one-minute load average divided by the number of cores, at the end of the lap.
        peak_mib: peak memory minus the memory at the start, if the contender measured it.
        processes: peak memory in MiB of its processes, by role, if the contender measured it.
        written_mb: size in 10⁶ bytes of the files that it added, likewise.
    """

    case: str
    contender: str
    round: int
    units: int
    wall_s: float
    cpu_s: float | None
    load: float
    peak_mib: float | None = None
    processes: dict[str, float] | None = None
    written_mb: float | None = None


def race(case: Case, rounds: int) -> list[Lap]:
    """Measure the contenders of a case in turn.

    In each round every contender runs once, so that other work on the machine affects all contenders alike. The
    contender that runs first changes from round to round. A warm-up round comes first and is not kept.

    Args:
        case: the work.
        rounds: number of laps of each contender.

    Returns:
        The laps, in the order in which they were run.

    Raises:
        ValueError: a contender processed no unit, or two contenders have the same name.
        Exception: an error of `check` or of a contender; all contenders are closed first.
    """
    entered = [contender for contender in case.contenders if isinstance(contender, Contender)]
    names = [contender.name for contender in case.contenders]
    if len(set(names)) < len(names):
        raise ValueError(f"{case.name}: two contenders have the same name: {', '.join(names)}")
    laps: list[Lap] = []
    try:
        if case.check is not None:
            case.check()
        if case.measures == "stages":
            return [_measure_lap(case, contender, 1) for contender in entered]
        for number in range(rounds + 1):
            for contender in _rotate(entered, number):
                lap = _measure_lap(case, contender, number)
                laps += [lap] if number else []
    finally:
        for contender in entered:
            contender.close()
    return laps


def _rotate(contenders: Sequence[Contender], number: int) -> Iterator[Contender]:
    first = number % max(1, len(contenders))
    yield from contenders[first:]
    yield from contenders[:first]


def _measure_lap(case: Case, contender: Contender, number: int) -> Lap:
    before, start = cpu_seconds(), time.perf_counter()
    units, own = 0, None
    while own is None and (units == 0 or time.perf_counter() - start < case.least_s):
        done = contender.run()
        own = done if isinstance(done, Measured) else None
        handled = done.units if isinstance(done, Measured) else done
        if handled < 1:
            raise ValueError(f"{case.name}: {contender.name} processed {handled} {case.unit}: nothing to measure")
        units += handled
    wall = time.perf_counter() - start
    cpu = cpu_seconds() - before
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if own is not None:
        figures = own.units, own.wall_s, own.cpu_s, load, own.peak_mib, own.processes, own.written_mb
        return Lap(case.name, contender.name, number, *figures)
    return Lap(case.name, contender.name, number, units, wall, max(cpu, 1e-9), load)


def cpu_seconds() -> float:
    """User and system seconds spent so far by this process and its descendants, running or ended.

    The time of this process is exact to a microsecond; that of running descendants, such as Ray's workers, to the
    kernel's tick of 10 ms.
    """
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended: its parent's figures include it
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total
