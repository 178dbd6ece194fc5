"""The figures computed from laps: medians, spreads, ratios of contenders within a round, and growth exponents."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from herbray.benchmark.harness.race import Lap

Figure = Literal["cpu_ms", "cpu_s", "rate", "seconds", "wall"]

FIGURES: Final[dict[Figure, Callable[[Lap], float | None]]] = {
    "cpu_ms": lambda lap: None if lap.cpu_s is None else 1000 * lap.cpu_s / lap.units,  # per unit; smaller is better
    "cpu_s": lambda lap: None if lap.cpu_s is None else lap.cpu_s / lap.units,  # per unit; smaller is better
    "rate": lambda lap: lap.units / lap.wall_s,  # units per second of wall time; larger is better
    "seconds": lambda lap: lap.wall_s / lap.units,  # wall time per unit; smaller is better
    "wall": lambda lap: lap.wall_s,  # seconds per lap; smaller is better
}


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum over the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """The spread of one or more values."""
        return Spread(median(values), min(values), max(values))


def laps_of(laps: Sequence[Lap], case: str, contender: str) -> list[Lap]:
    """The laps of a contender in a case, in the order of the rounds."""
    return sorted((lap for lap in laps if (lap.case, lap.contender) == (case, contender)), key=lambda lap: lap.round)


def spread(laps: Sequence[Lap], case: str, contender: str, figure: Figure) -> Spread | None:
    """The spread of a contender's figure; None if no lap has the figure."""
    values = _by_round(laps, case, contender, figure).values()
    return Spread.of([*values]) if values else None


def _by_round(laps: Sequence[Lap], case: str, contender: str, figure: Figure) -> dict[int, float]:
    found = {lap.round: FIGURES[figure](lap) for lap in laps_of(laps, case, contender)}
    return {number: value for number, value in found.items() if value is not None}


def ratio(laps: Sequence[Lap], case: str, ours: str, peer: str, figure: Figure) -> Spread | None:
    """How many times better `ours` is than `peer`, computed within each round so that slow drift cancels.

    The ratio is ours ÷ peer for "rate" and peer ÷ ours for figures of cost: above 1, ours is better.

    Returns:
        The spread over rounds; None if one of the two has no lap with the figure.
    """
    mine, theirs = (_by_round(laps, case, name, figure) for name in (ours, peer))
    pairs = [(mine[number], theirs[number]) for number in mine if number in theirs]
    if not pairs:
        return None
    return Spread.of([own / peers if figure == "rate" else peers / own for own, peers in pairs])


@dataclass(frozen=True)
class Slope:
    """The exponent b in seconds = a · unitsᵇ, between two sizes of one job."""

    exponent: float
    smaller: int
    larger: int


def slope(laps: Sequence[Lap], case: str, figure: Literal["cpu", "wall"]) -> Slope | None:
    """How time grows between the two largest sizes, from their medians; None with fewer than two sizes.

    Smaller sizes are left out, because the start-up is a large part of their time and would hide growth.
    """
    sizes: dict[int, list[float]] = {}
    for lap in laps:
        seconds = lap.cpu_s if figure == "cpu" else lap.wall_s
        if lap.case == case and seconds is not None:
            sizes.setdefault(lap.units, []).append(seconds)
    if len(sizes) < 2:
        return None
    smaller, larger = sorted(sizes)[-2:]
    grown = median(sizes[larger]) / median(sizes[smaller])
    return Slope(math.log(grown) / math.log(larger / smaller), smaller, larger)
