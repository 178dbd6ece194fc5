"""The base of all benchmarks: settings, the cases made from them, and the promises that the laps keep or break."""

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
    """A promise and the measurement; `met` is None if the promise could not be measured or is not judged."""

    case: str
    promise: str
    measured: str
    met: bool | None


class Promise(Protocol):
    """Something that the laps of a benchmark keep or break."""

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Compare the promise with the laps of the whole benchmark."""


@dataclass(frozen=True)
class Target:
    """A bound on a ratio within one run: `ours` is at least `at_least` times as good as `peer`; see `figures.ratio`."""

    case: str
    ours: str
    peer: str
    figure: Figure
    at_least: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """See `Promise`; not measured if one of the two contenders is missing."""
        promise = f"{self.ours} ≥ {self.at_least:g} × {self.peer} ({_NAMES[self.figure]})"
        found = ratio(laps, self.case, self.ours, self.peer, self.figure)
        if found is None:
            return Verdict(self.case, promise, "not measured", None)
        measured = f"{found.median:.2f} × ({found.low:.2f}–{found.high:.2f})"
        return Verdict(self.case, promise, measured, found.median >= self.at_least)


@dataclass(frozen=True)
class Limit:
    """An absolute bound on one contender, such as at most so many CPU milliseconds per unit, or seconds per lap."""

    case: str
    contender: str
    figure: Figure
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """See `Promise`; not measured if the contender is missing."""
        promise = f"{self.contender} ≤ {self.at_most:g} ({_NAMES[self.figure]})"
        found = spread(laps, self.case, self.contender, self.figure)
        if found is None:
            return Verdict(self.case, promise, "not measured", None)
        measured = f"{found.median:.3g} ({found.low:.3g}–{found.high:.3g})"
        return Verdict(self.case, promise, measured, found.median <= self.at_most)


@dataclass(frozen=True)
class Growth:
    """A bound on growth: the contenders are sizes of one job; time grows with units to the power `at_most` or less."""

    case: str
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Judge by CPU time, which other processes disturb least; the exponent of wall time is printed too."""
        promise = f"exponent ≤ {self.at_most:g} (CPU time, two largest sizes)"
        cpu, wall = slope(laps, self.case, "cpu"), slope(laps, self.case, "wall")
        if cpu is None or wall is None:
            return Verdict(self.case, promise, "not measured", None)
        measured = f"{cpu.exponent:.2f} (wall {wall.exponent:.2f}), {cpu.smaller:,} → {cpu.larger:,}"
        return Verdict(self.case, promise, measured, cpu.exponent <= self.at_most)


@dataclass(frozen=True)
class Flat:
    """A bound on memory: the contenders are sizes of one job; the largest uses `at_most` × the smallest's memory."""

    case: str
    at_most: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Judge by the highest peak of all rounds."""
        promise = f"peak memory of the largest ≤ {self.at_most:g} × the smallest"
        peaks = {lap.units: lap.contender for lap in laps if lap.case == self.case and lap.peak_mib is not None}
        if len(peaks) < 2:
            return Verdict(self.case, promise, "not measured", None)
        small, large = (
            max(lap.peak_mib or 0.0 for lap in laps_of(laps, self.case, peaks[units]))
            for units in (min(peaks), max(peaks))
        )
        measured = f"{large / small:.2f} × ({small:,.0f} → {large:,.0f} MiB)"
        return Verdict(self.case, promise, measured, large <= self.at_most * small)


_NAMES: dict[Figure, str] = {"cpu_ms": "CPU ms a unit", "rate": "units a second", "wall": "seconds"}


class BenchmarkSpec(Spec, ABC):
    """Settings of one benchmark. A subclass narrows `name` to a `Literal` and adds its sizes.

    With the defaults a benchmark takes three minutes on two cores without a GPU. Peers are imported inside functions; a
    peer that is not available is a `Missing` in its case.
    """

    name: str
    rounds: int = Field(5, ge=1, description="laps of each contender after a warm-up; fewer than 5 prove little")
    seed: int = Field(89, description="seed of the data")

    @abstractmethod
    def cases(self, work: Path) -> Iterator[Case]:
        """Make the cases one after the other; inputs may be written to `work`, which is removed at the end."""

    @abstractmethod
    def targets(self) -> Sequence[Promise]:
        """The promises about these cases: `Target`, `Limit`, `Growth`, `Flat`."""
