"""From laps to figures: medians, spreads, and ratios of contenders within a round."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from herbray.benchmark.race import Lap

Figure = Literal["cpu_ms", "rate", "wall"]

FIGURES: Final[dict[Figure, Callable[[Lap], float]]] = {
    "cpu_ms": lambda lap: 1000 * lap.cpu_s / lap.units,  # milliseconds of CPU a unit: smaller is better
    "rate": lambda lap: lap.units / lap.wall_s,  # units a second by the clock: larger is better
    "wall": lambda lap: lap.wall_s,  # seconds of a lap: smaller is better
}


@dataclass(frozen=True)
class Spread:
    """Median, least and most over the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return Spread(median(values), min(values), max(values))


def laps_of(laps: Sequence[Lap], case: str, contender: str) -> list[Lap]:
    """A contender's laps in a case, by round."""
    return sorted((lap for lap in laps if (lap.case, lap.contender) == (case, contender)), key=lambda lap: lap.round)


def spread(laps: Sequence[Lap], case: str, contender: str, figure: Figure) -> Spread | None:
    """A contender's figure; None without a lap."""
    values = [FIGURES[figure](lap) for lap in laps_of(laps, case, contender)]
    return Spread.of(values) if values else None


def ratio(laps: Sequence[Lap], case: str, ours: str, peer: str, figure: Figure) -> Spread | None:
    """How many times better `ours` is than `peer`, taken within each round, so that slow drift cancels.

    For "rate" it is ours ÷ peer, for the two that count cost it is peer ÷ ours: above 1, ours is better.

    Returns:
        The median over rounds with its spread; None where one of them has no lap.
    """
    value = FIGURES[figure]
    theirs = {lap.round: value(lap) for lap in laps_of(laps, case, peer)}
    pairs = [(value(lap), theirs[lap.round]) for lap in laps_of(laps, case, ours) if lap.round in theirs]
    if not pairs:
        return None
    return Spread.of([mine / other if figure == "rate" else other / mine for mine, other in pairs])


@dataclass(frozen=True)
class Slope:
    """The b of seconds = a · unitsᵇ between two sizes of one job."""

    exponent: float
    smaller: int
    larger: int


def slope(laps: Sequence[Lap], case: str, figure: Literal["cpu", "wall"]) -> Slope | None:
    """How time grows between the two largest sizes, by their medians; None with fewer than two sizes.

    Smaller sizes are left out: what a start costs is a large part of their time, which would make growth look slower.
    """
    sizes: dict[int, list[float]] = {}
    for lap in laps:
        if lap.case == case:
            sizes.setdefault(lap.units, []).append(lap.cpu_s if figure == "cpu" else lap.wall_s)
    if len(sizes) < 2:
        return None
    smaller, larger = sorted(sizes)[-2:]
    grown = median(sizes[larger]) / median(sizes[smaller])
    return Slope(math.log(grown) / math.log(larger / smaller), smaller, larger)
