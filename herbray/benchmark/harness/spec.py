"""What a benchmark is: settings, the cases that they make, and what herbray promises of the outcome."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field

from herbray.benchmark.harness.figures import Figure, laps_of, ratio, slope, spread
from herbray.benchmark.harness.race import Case, Lap
from herbray.config import Spec


@dataclass(frozen=True)
class Verdict:
    """A promise beside what was measured; `met` is None where it could not be measured."""

    case: str
    promise: str
    measured: str
    met: bool | None


class Promise(Protocol):
    """Something that the laps of a benchmark keep or break."""

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Compare with the laps of the whole benchmark."""


@dataclass(frozen=True)
class Target:
    """A ratio within one run: `ours` is at least so many times as good as `peer`; see `figures.ratio`."""

    case: str
    ours: str
    peer: str
    figure: Figure
    at_least: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Not measured where one of the two is missing."""
        promise = f"{self.ours} ≥ {self.at_least:g} × {self.peer} ({_NAMES[self.figure]})"
        found = ratio(laps, self.case, self.ours, self.peer, self.figure)
        if found is None:
            return Verdict(self.case, promise, "not measured", None)
        told = f"{found.median:.2f} × ({found.low:.2f}–{found.high:.2f})"
        return Verdict(self.case, promise, told, found.median >= self.at_least)


@dataclass(frozen=True)
class Limit:
    """An absolute bound on one contender: at most so many CPU milliseconds a unit, or seconds a lap."""

    case: str
    contender: str
    figure: Figure
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Not measured where the contender is missing."""
        promise = f"{self.contender} ≤ {self.at_most:g} ({_NAMES[self.figure]})"
        found = spread(laps, self.case, self.contender, self.figure)
        if found is None:
            return Verdict(self.case, promise, "not measured", None)
        told = f"{found.median:.3g} ({found.low:.3g}–{found.high:.3g})"
        return Verdict(self.case, promise, told, found.median <= self.at_most)


@dataclass(frozen=True)
class Growth:
    """The case's contenders are sizes of one job; seconds grow with units to the power of `at_most` or less."""

    case: str
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """By CPU time, which another process disturbs least; the wall clock's exponent is told beside it."""
        promise = f"exponent ≤ {self.at_most:g} (CPU time, two largest sizes)"
        cpu, wall = slope(laps, self.case, "cpu"), slope(laps, self.case, "wall")
        if cpu is None or wall is None:
            return Verdict(self.case, promise, "not measured", None)
        told = f"{cpu.exponent:.2f} (wall {wall.exponent:.2f}), {cpu.smaller:,} → {cpu.larger:,}"
        return Verdict(self.case, promise, told, cpu.exponent <= self.at_most)


@dataclass(frozen=True)
class Flat:
    """The case's contenders are sizes of one streaming job; the largest needs `at_most` times the smallest's memory."""

    case: str
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """By the most that any round needed."""
        promise = f"peak memory of the largest ≤ {self.at_most:g} × the smallest"
        peaks = {lap.units: lap.contender for lap in laps if lap.case == self.case and lap.peak_mib is not None}
        if len(peaks) < 2:
            return Verdict(self.case, promise, "not measured", None)
        small, large = (
            max(lap.peak_mib or 0.0 for lap in laps_of(laps, self.case, peaks[units]))
            for units in (min(peaks), max(peaks))
        )
        told = f"{large / small:.2f} × ({small:,.0f} → {large:,.0f} MiB)"
        return Verdict(self.case, promise, told, large <= self.at_most * small)


_NAMES: dict[Figure, str] = {"cpu_ms": "CPU ms a unit", "rate": "units a second", "wall": "seconds"}


class BenchmarkSpec(Spec, ABC):
    """Settings of one benchmark. A concrete one narrows `name` to a `Literal` and adds its sizes.

    Default sizes finish in three minutes on two cores without a GPU. Peers are imported inside functions; where one
    cannot be had, its place in the case is a `Missing`.
    """

    name: str
    rounds: int = Field(5, ge=1, description="laps of each contender, after a warm-up; fewer than 5 prove little")
    seed: int = Field(89, description="seed of the data")

    @abstractmethod
    def cases(self, work: Path) -> Iterator[Case]:
        """Make the cases one after the other; inputs may be written below `work`, which is removed at the end."""

    @abstractmethod
    def targets(self) -> Sequence[Promise]:
        """What herbray promises of these cases: `Target`, `Limit`, `Growth`, `Flat`."""
