"""Who collected what, where its sheets went and what they were called: the table behind the drawn sheets."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from typing import Final

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic.flora import Sizes, Taxon, grow
from herbray.data.sources.synthetic.names import COLLECTORS

Ints = npt.NDArray[np.int64]

CONFUSED: Final = (("genus", 0.2), ("family", 0.6), ("order", 0.1))
"""A wrong name is of the same genus, else family, else order with these chances; the rest may be anything."""

_STREAMS: Final = {
    name: 41 + place
    for place, name in enumerate(
        ("affinity", "species", "herbarium", "duplicate", "collector", "year", "day", "wrong", "kind", "which")
    )
}
_REGIONAL: Final = {"family": 0.7, "genus": 0.8, "species": 0.4}
"""How unevenly herbaria hold taxa: standard deviation of the log of a herbarium's fondness, by rank; home is fair."""


@dataclass(frozen=True)
class Collection:
    """What a synthetic herbarium is a pure function of, but for the drawing."""

    flora: Sizes
    sheets: int
    institutions: int
    home: float  # share of gatherings whose first sheet goes to the home herbarium
    duplicates: float  # share of sheets that are a second or third sheet of their gathering
    errors: float  # share of sheets with a wrong name
    seed: int


@dataclass(frozen=True)
class Specimens:
    """One entry a sheet; the first n of a larger collection are those of a smaller one."""

    taxa: tuple[Taxon, ...]
    gathering: Ints
    institution: Ints  # 0 is the home herbarium
    truth: Ints  # index into `taxa`
    named: Ints  # likewise: the name on the sheet
    collector: Ints  # index into `names.COLLECTORS`
    field_number: Ints  # the collector's number
    day: Ints  # proleptic Gregorian ordinal of the collecting date


@lru_cache(maxsize=2)
def collect(collection: Collection) -> Specimens:
    """Draw the table: every column from a random stream of its own, so that a longer table begins like a shorter."""
    taxa = grow(collection.flora, collection.seed)
    count = collection.sheets
    extra = _duplicates(collection)
    ends = np.cumsum(1 + extra)
    gathering = np.searchsorted(ends, np.arange(count), side="right")
    place = np.arange(count) - (ends - 1 - extra)[gathering]
    ranking = _ranking(collection)
    truth = _species(taxa, ranking[:, 0], collection)[gathering]
    collector = (_uniform(collection, "collector", count) ** 1.6 * len(COLLECTORS)).astype(np.int64)
    return Specimens(
        taxa=taxa,
        gathering=gathering,
        institution=ranking[gathering, place % collection.institutions],
        truth=truth,
        named=_names(taxa, truth, collection),
        collector=collector[gathering],
        field_number=_field_numbers(collector)[gathering],
        day=_days(collector, collection)[gathering],
    )


def collector_and_date(specimens: Specimens, number: int) -> tuple[str, date]:
    """Who gathered sheet `number`, with the field number, and when."""
    who = f"{COLLECTORS[specimens.collector[number]]} {specimens.field_number[number]}"
    return who, date.fromordinal(int(specimens.day[number]))


def _rng(collection: Collection, stream: str) -> np.random.Generator:
    return np.random.default_rng([collection.seed, _STREAMS[stream]])


def _uniform(collection: Collection, stream: str, *shape: int) -> npt.NDArray[np.float64]:
    return _rng(collection, stream).random(shape)


def _duplicates(collection: Collection) -> Ints:
    """Further sheets of each gathering: none, one, or two."""
    chance = collection.duplicates / (1 - collection.duplicates) / 1.3
    draw = _uniform(collection, "duplicate", collection.sheets)
    return (draw < chance).astype(np.int64) + (draw < 0.3 * chance)


def _ranking(collection: Collection) -> Ints:
    """For each gathering the herbaria in the order in which they get sheets: (sheets, institutions).

    Gumbel keys: the first is drawn by the herbaria's shares, the others by the shares that remain.
    """
    others = collection.institutions - 1
    tail = 0.75 ** np.arange(others)
    shares = (
        np.array([1.0]) if not others else np.array([collection.home, *((1 - collection.home) * tail / tail.sum())])
    )
    draw = _uniform(collection, "herbarium", collection.sheets, collection.institutions)
    return np.argsort(np.log(-np.log(draw)) - np.log(shares), axis=1, kind="stable")


def _species(taxa: tuple[Taxon, ...], herbarium: Ints, collection: Collection) -> Ints:
    """What each gathering is: all but the home herbarium favour regions of their own, so that floras differ."""
    rng = _rng(collection, "affinity")
    fondness = np.zeros((collection.institutions, len(taxa)))
    for rank, deviation in _REGIONAL.items():
        _, group = np.unique([getattr(taxon, rank) for taxon in taxa], return_inverse=True)
        fondness += deviation * rng.standard_normal((collection.institutions, group.max() + 1))[:, group]
    fondness[0] = 0
    weights = np.exp(fondness) * [taxon.share for taxon in taxa]
    steps = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    draw = _uniform(collection, "species", collection.sheets)
    found = np.zeros(collection.sheets, np.int64)
    for index in range(collection.institutions):
        mine = herbarium == index
        found[mine] = np.searchsorted(steps[index, :-1], draw[mine], side="right")
    return found


def _names(taxa: tuple[Taxon, ...], truth: Ints, collection: Collection) -> Ints:
    """The names on the sheets: the truth, but for a share that was determined as something near it."""
    named = truth.copy()
    if len(taxa) == 1:
        return named
    wrong, kind, which = (_uniform(collection, stream, len(truth)) for stream in ("wrong", "kind", "which"))
    mistakable = lru_cache(maxsize=None)(partial(_mistakable, taxa))  # for this table only: few pairs recur often
    levels = np.searchsorted(np.cumsum([chance for _, chance in CONFUSED]), kind, side="right")
    for sheet in np.flatnonzero(wrong < collection.errors).tolist():
        options = mistakable(int(truth[sheet]), int(levels[sheet]))
        named[sheet] = options[int(which[sheet] * len(options))]
    return named


def _mistakable(taxa: tuple[Taxon, ...], truth: int, level: int) -> list[int]:
    """Species that share the rank at `level` of `CONFUSED` with this one, and none narrower.

    Where there are none, those of the next wider rank, else those nearest: with two species there is always one.
    """
    for near in (*range(level, len(CONFUSED) + 1), *reversed(range(level))):
        options = [index for index, taxon in enumerate(taxa) if _nearness(taxon, taxa[truth]) == near]
        if options := [index for index in options if index != truth]:
            return options
    raise ValueError("a flora of one species knows no wrong name; give errors=0 or more species")


def _nearness(one: Taxon, other: Taxon) -> int:
    """The place in `CONFUSED` of the narrowest rank that two species share; its length where they share none."""
    for place, (rank, _) in enumerate(CONFUSED):
        if getattr(one, rank) == getattr(other, rank):
            return place
    return len(CONFUSED)


def _field_numbers(collector: Ints) -> Ints:
    """Each collector's gatherings, numbered on from where their notebook began."""
    order = np.argsort(collector, kind="stable")
    ordered = collector[order]
    numbers = np.empty_like(collector)
    numbers[order] = np.arange(len(collector)) - np.searchsorted(ordered, ordered) + 1 + ordered * 613 % 4000
    return numbers


def _days(collector: Ints, collection: Collection) -> Ints:
    """A date in the collector's working life of 35 years, between 1870 and 2020; more often in summer."""
    start = 1870 + (collector * 37) % 115
    year = start + (_uniform(collection, "year", len(collector)) * 35).astype(np.int64)
    season = _uniform(collection, "day", len(collector), 2).mean(axis=1)
    new_year = np.array([date(1870, 1, 1).toordinal() + round(365.2425 * past) for past in range(160)])
    days: Ints = new_year[year - 1870] + (season * 364).astype(np.int64)
    return days
