"""The table of specimens: collectors, taxa, herbaria and names on the sheets."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from typing import Final

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic.flora import FloraSizes, Taxon, grow_flora
from herbray.data.sources.synthetic.names import COLLECTORS

Ints = npt.NDArray[np.int64]

CONFUSION_CHANCES: Final = (("genus", 0.2), ("family", 0.6), ("order", 0.1))
"""Probability that a wrong name shares the genus, only the family, or only the order; the rest shares no rank."""

_STREAMS: Final = {
    name: 41 + place
    for place, name in enumerate(
        ("affinity", "species", "herbarium", "duplicate", "collector", "year", "day", "wrong", "kind", "which")
    )
}
_REGIONAL_SPREAD: Final = {"family": 0.7, "genus": 0.8, "species": 0.4}
"""Standard deviation, by rank, of the log preference of herbaria for taxa; the home herbarium has no preference."""


@dataclass(frozen=True)
class Collection:
    """The settings that determine a synthetic herbarium, except its drawing."""

    flora: FloraSizes
    sheets: int
    institutions: int
    home: float  # share of gatherings whose first sheet goes to the home herbarium
    duplicates: float  # share of sheets that are a second or third sheet of their gathering
    errors: float  # share of sheets with a wrong name
    seed: int


@dataclass(frozen=True)
class Specimens:
    """One entry per sheet; the first n entries of a larger collection equal those of a smaller collection."""

    taxa: tuple[Taxon, ...]
    gathering: Ints
    institution: Ints  # 0 is the home herbarium
    truth: Ints  # index into `taxa`
    named: Ints  # index into `taxa`: the name on the sheet
    collector: Ints  # index into `names.COLLECTORS`
    field_number: Ints  # the collector's number
    day: Ints  # proleptic Gregorian ordinal of the collecting date


@lru_cache(maxsize=2)
def collect_specimens(collection: Collection) -> Specimens:
    """Draw the table, each column from a separate random stream, so that a longer table begins like a shorter table."""
    taxa = grow_flora(collection.flora, collection.seed)
    count = collection.sheets
    extra = _draw_duplicates(collection)
    ends = np.cumsum(1 + extra)
    gathering = np.searchsorted(ends, np.arange(count), side="right")
    place = np.arange(count) - (ends - 1 - extra)[gathering]
    ranking = _rank_herbaria(collection)
    truth = _draw_species(taxa, ranking[:, 0], collection)[gathering]
    collector = (_draw_uniform(collection, "collector", count) ** 1.6 * len(COLLECTORS)).astype(np.int64)
    return Specimens(
        taxa=taxa,
        gathering=gathering,
        institution=ranking[gathering, place % collection.institutions],
        truth=truth,
        named=_draw_names(taxa, truth, collection),
        collector=collector[gathering],
        field_number=_assign_field_numbers(collector)[gathering],
        day=_draw_days(collector, collection)[gathering],
    )


def collector_and_date(specimens: Specimens, number: int) -> tuple[str, date]:
    """Return the collector of sheet `number`, with the field number, and the collecting date."""
    who = f"{COLLECTORS[specimens.collector[number]]} {specimens.field_number[number]}"
    return who, date.fromordinal(int(specimens.day[number]))


def _rng(collection: Collection, stream: str) -> np.random.Generator:
    return np.random.default_rng([collection.seed, _STREAMS[stream]])


def _draw_uniform(collection: Collection, stream: str, *shape: int) -> npt.NDArray[np.float64]:
    return _rng(collection, stream).random(shape)


def _draw_duplicates(collection: Collection) -> Ints:
    """Draw the number of further sheets of each gathering: none, one, or two."""
    chance = collection.duplicates / (1 - collection.duplicates) / 1.3
    draw = _draw_uniform(collection, "duplicate", collection.sheets)
    return (draw < chance).astype(np.int64) + (draw < 0.3 * chance)


def _rank_herbaria(collection: Collection) -> Ints:
    """Draw for each gathering the order in which herbaria get sheets: (sheets, institutions).

    Uses Gumbel keys: the first is drawn by the herbaria's shares, the others by the remaining shares.
    """
    others = collection.institutions - 1
    tail = 0.75 ** np.arange(others)
    shares = (
        np.array([1.0]) if not others else np.array([collection.home, *((1 - collection.home) * tail / tail.sum())])
    )
    draw = _draw_uniform(collection, "herbarium", collection.sheets, collection.institutions)
    return np.argsort(np.log(-np.log(draw)) - np.log(shares), axis=1, kind="stable")


def _draw_species(taxa: tuple[Taxon, ...], herbarium: Ints, collection: Collection) -> Ints:
    """Draw the species of each gathering; all herbaria except the home herbarium prefer some taxa, so floras differ."""
    rng = _rng(collection, "affinity")
    fondness = np.zeros((collection.institutions, len(taxa)))
    for rank, deviation in _REGIONAL_SPREAD.items():
        _, group = np.unique([getattr(taxon, rank) for taxon in taxa], return_inverse=True)
        fondness += deviation * rng.standard_normal((collection.institutions, group.max() + 1))[:, group]
    fondness[0] = 0
    weights = np.exp(fondness) * [taxon.share for taxon in taxa]
    steps = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    draw = _draw_uniform(collection, "species", collection.sheets)
    found = np.zeros(collection.sheets, np.int64)
    for index in range(collection.institutions):
        mine = herbarium == index
        found[mine] = np.searchsorted(steps[index, :-1], draw[mine], side="right")
    return found


def _draw_names(taxa: tuple[Taxon, ...], truth: Ints, collection: Collection) -> Ints:
    """Draw the names on the sheets: the true name, or, for a share of sheets, the name of a related species."""
    named = truth.copy()
    if len(taxa) == 1:
        return named
    wrong, kind, which = (_draw_uniform(collection, stream, len(truth)) for stream in ("wrong", "kind", "which"))
    mistakable = lru_cache(maxsize=None)(partial(_list_mistakable, taxa))  # cached, since few pairs recur often
    levels = np.searchsorted(np.cumsum([chance for _, chance in CONFUSION_CHANCES]), kind, side="right")
    for sheet in np.flatnonzero(wrong < collection.errors).tolist():
        options = mistakable(int(truth[sheet]), int(levels[sheet]))
        named[sheet] = options[int(which[sheet] * len(options))]
    return named


def _list_mistakable(taxa: tuple[Taxon, ...], truth: int, level: int) -> list[int]:
    """List species that share the rank at `level` of `CONFUSION_CHANCES` with a species, but no narrower rank.

    If there are none, use the next wider rank, else the narrower ranks; with two species there is always a result.
    """
    for near in (*range(level, len(CONFUSION_CHANCES) + 1), *reversed(range(level))):
        options = [index for index, taxon in enumerate(taxa) if _find_shared_level(taxon, taxa[truth]) == near]
        if options := [index for index in options if index != truth]:
            return options
    raise ValueError("a flora of one species has no wrong names; set errors=0, or a larger number of species")


def _find_shared_level(one: Taxon, other: Taxon) -> int:
    """Return the index in `CONFUSION_CHANCES` of the narrowest shared rank; its length if no rank is shared."""
    for place, (rank, _) in enumerate(CONFUSION_CHANCES):
        if getattr(one, rank) == getattr(other, rank):
            return place
    return len(CONFUSION_CHANCES)


def _assign_field_numbers(collector: Ints) -> Ints:
    """Number each collector's gatherings from a first number that depends on the collector."""
    order = np.argsort(collector, kind="stable")
    ordered = collector[order]
    numbers = np.empty_like(collector)
    numbers[order] = np.arange(len(collector)) - np.searchsorted(ordered, ordered) + 1 + ordered * 613 % 4000
    return numbers


def _draw_days(collector: Ints, collection: Collection) -> Ints:
    """Draw a date in the collector's 35 years of activity, between 1870 and 2020; more often in summer."""
    start = 1870 + (collector * 37) % 115
    year = start + (_draw_uniform(collection, "year", len(collector)) * 35).astype(np.int64)
    season = _draw_uniform(collection, "day", len(collector), 2).mean(axis=1)
    new_year = np.array([date(1870, 1, 1).toordinal() + round(365.2425 * past) for past in range(160)])
    days: Ints = new_year[year - 1870] + (season * 364).astype(np.int64)
    return days
