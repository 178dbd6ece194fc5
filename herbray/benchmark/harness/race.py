"""Contenders measured on the same work, round by round in turn, by wall clock and by CPU time."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

Measures = Literal["rate", "seconds"]
"""What a case compares: units a second, or seconds a unit where no work is repeated, as in a start."""


@dataclass(frozen=True)
class Measured:
    """What a contender measured itself, because its work went on in another process."""

    units: int
    wall_s: float
    cpu_s: float | None  # None: not told apart from that of other work
    peak_mib: float | None = None


def _nothing() -> None:
    """A contender that has nothing to close."""


@dataclass(frozen=True)
class Contender:
    """One way to do a case's work.

    Attributes:
        name: "herbray", or "herbray: …" for a variant of ours; else the peer's name.
        run: does the work once on prepared inputs and returns how many units it handled, or its own measurement.
        close: gives back what `run` holds: processes, files.
    """

    name: str
    run: Callable[[], int | Measured]
    close: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Missing:
    """A peer that cannot be had here; `reason` tells why and the way out. It is printed, never hidden."""

    name: str
    reason: str


@dataclass(frozen=True)
class Case:
    """The same work for all contenders.

    Attributes:
        name: what is done, such as "decode to 256 px, 24 megapixels".
        unit: what is counted: "images", "triplets", "queries".
        contenders: who competes, and who cannot.
        check: raises when the contenders do not compute the same thing; called once, before the first round.
        least_s: a contender that is done sooner does its work again until so many seconds have passed.
        measures: how its figures are printed.
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
        round: from 1; the warm-up is not kept.
        units: handled in the lap.
        wall_s: seconds by the clock on the wall.
        cpu_s: user and system seconds of this process and of everything below it, Ray's workers too; None where the
            contender did not measure them.
        load: one-minute load average divided by the cores, at the lap's end.
        peak_mib: most memory above the start, where the contender measured it.
    """

    case: str
    contender: str
    round: int
    units: int
    wall_s: float
    cpu_s: float | None
    load: float
    peak_mib: float | None = None


def race(case: Case, rounds: int) -> list[Lap]:
    """Let the contenders of a case run in turn.

    Every round each contender runs once, so that whatever else the machine does meets all of them alike; who comes
    first changes from round to round. One round before the first is a warm-up and dropped.

    Args:
        case: the work.
        rounds: how many laps each contender gets.

    Returns:
        Laps in the order in which they were run.

    Raises:
        ValueError: a contender handled nothing, or two have one name.
        Exception: whatever `check` or a contender raises; all contenders are closed first.
    """
    entered = [contender for contender in case.contenders if isinstance(contender, Contender)]
    names = [contender.name for contender in case.contenders]
    if len(set(names)) < len(names):
        raise ValueError(f"{case.name}: two contenders have one name among {', '.join(names)}")
    laps: list[Lap] = []
    try:
        if case.check is not None:
            case.check()
        for number in range(rounds + 1):
            for contender in _turn(entered, number):
                lap = _lap(case, contender, number)
                laps += [lap] if number else []
    finally:
        for contender in entered:
            contender.close()
    return laps


def _turn(contenders: Sequence[Contender], number: int) -> Iterator[Contender]:
    first = number % max(1, len(contenders))
    yield from contenders[first:]
    yield from contenders[:first]


def _lap(case: Case, contender: Contender, number: int) -> Lap:
    before, start = cpu_seconds(), time.perf_counter()
    units, own = 0, None
    while own is None and (units == 0 or time.perf_counter() - start < case.least_s):
        done = contender.run()
        own = done if isinstance(done, Measured) else None
        handled = done.units if isinstance(done, Measured) else done
        if handled < 1:
            raise ValueError(f"{case.name}: {contender.name} handled {handled} {case.unit}; nothing can be measured")
        units += handled
    wall = time.perf_counter() - start
    cpu = cpu_seconds() - before
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if own is not None:
        return Lap(case.name, contender.name, number, own.units, own.wall_s, own.cpu_s, load, own.peak_mib)
    return Lap(case.name, contender.name, number, units, wall, max(cpu, 1e-9), load)


def cpu_seconds() -> float:
    """User and system seconds spent so far by this process, its children and theirs, living or waited for.

    This process is read to the microsecond; living descendants, Ray's workers say, to the kernel's tick of 10 ms.
    """
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended since: then its parent's account holds it
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total
