"""The study's splits (Walker et al. 2022, doi 10.3389/fpls.2021.806407), as a pure function of catalogue and seed."""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec
from herbray.data.coded import Ints, Mask, Rows, Units
from herbray.data.draws import draws
from herbray.schema import SPLITS

AUTO: Final = "auto"

_TRAIN, _VALIDATION, _HERBARIUM, _SPECIES, _RANDOM, _UNUSED = range(len(SPLITS))
_WITHOUT: Final = {"species": 0.0, "home": None, "random": 0.0}  # in the order in which tests are given up

_PRECEDENCE: Final = np.array([2, 2, 1, 3, 2, 0])  # of the sides that claim one gathering, the highest keeps it


class EmptySplit(ValueError):
    """A split that the user asked for, or training, has no specimen; tells the counts on the way and what to change."""


class Splits(Spec):
    """How specimens are split; the defaults are the study's.

    A test that only the defaults ask for is left out where it would be empty or leave too few genera to train on; one
    that the user's settings ask for must be there.

    Attributes:
        cap: at most so many specimens of a species are used; null for all.
        home: code of the institution whose sheets train, while the others' are the herbarium test; "auto" takes the
            one with most specimens; null trains on all institutions and makes no herbarium test.
        species: share of the home institution's species that are held out as the species test; 0 for none.
        random: share of the remaining specimens that are held out as the random test; 0 for none.
        validation: share of the training specimens that are held out to watch training; 0 for none.
        stratify: draw the validation within each genus, not from all specimens alike.
        min_train: a genus with fewer training specimens is in no split.
    """

    cap: int | None = Field(default=25, ge=1)
    home: str | None = Field(default=AUTO, min_length=1)
    species: float = Field(default=0.10, ge=0, lt=1)
    random: float = Field(default=0.10, ge=0, lt=1)
    validation: float = Field(default=0.20, ge=0, lt=1)
    stratify: bool = True
    min_train: int = Field(default=2, ge=1)


def split(catalogue: pa.Table, spec: Splits, seed: int) -> pa.Array:
    """Give each specimen its split.

    In this order: cap each species; the herbarium test is what is not in the home institution; the species test is all
    specimens of a share of the home species; the random test a share of what then remains; genera with fewer than
    `min_train` training specimens leave every split; the rest is training and validation.

    Sheets of one gathering never lie on two sides. Random draws are of gatherings (of specimens where the gathering is
    unknown), and where the rules put one gathering's sheets on several sides, one side keeps them (species before
    train, validation and random, these before herbarium) and the other sheets are unused. Every genus of a test or of
    validation is in training, with `min_train` specimens at least.

    Without a genus a specimen is unused. Without a species it is capped with its like in the genus and never in the
    species test. Without an institution it is neither home nor away: unused, unless `home` is null.

    Args:
        catalogue: rows in `herbray.schema.CATALOGUE`, `specimen_id` unique.
        spec: the settings.
        seed: of every draw; membership depends on it and on the rows' content, never on their order.

    Returns:
        One of `herbray.schema.SPLITS` a row, aligned with the rows.

    Raises:
        EmptySplit: training, or a split that the user's settings ask for, holds no specimen. Those that only the
            defaults ask for may be empty: see `herbray.data.absent`.
        ValueError: the catalogue is empty or repeats an id, `home` is unknown to it, or one genus only would train.
    """
    order = _by_id(catalogue)
    _check_genera(catalogue["genus"])
    rows = Rows.of(catalogue.select(["specimen_id", "genus", "species", "institution", "gathering"]).take(order))
    side = _allowed(rows, spec, seed)
    placed = np.empty_like(side)
    placed[order] = side
    return pc.cast(pa.DictionaryArray.from_arrays(placed.astype(np.int8), list(SPLITS)), pa.string())


def _by_id(catalogue: pa.Table) -> Ints:
    """Row numbers in the order of the ids: from here on, the given order can't matter, not even to break a tie."""
    if len(catalogue) == 0:
        raise ValueError("the catalogue has no row: nothing to split")
    order = pc.sort_indices(catalogue["specimen_id"])
    ids = catalogue["specimen_id"].take(order)
    repeated = ids.slice(1).filter(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
    if len(repeated) or ids.null_count:
        example = repr(repeated[0].as_py()) if len(repeated) else "null"
        raise ValueError(f"specimen_id must be unique: {example} is not; `herbray catalogue` sets such rows aside")
    numbers: Ints = order.to_numpy().astype(np.int64)
    return numbers


def _allowed(rows: Rows, spec: Splits, seed: int) -> Ints:
    """Each row's split, a position in `SPLITS`, with as many as can be of the tests that only the defaults ask for."""
    faults: list[ValueError] = []
    for fewer in _narrowings(spec):
        steps: list[str] = []
        try:
            side = _sides(rows, fewer, seed, steps)
            _check(rows, side, fewer, steps)
        except ValueError as fault:
            faults.append(fault)
        else:
            return side
    raise faults[0]


def _narrowings(spec: Splits) -> Iterator[Splits]:
    """The settings, then those without one of the tests that the user has not asked for, without two, without all."""
    optional = [name for name in _WITHOUT if name not in spec.model_fields_set]
    for many in range(len(optional) + 1):
        for names in combinations(optional, many):
            yield spec.model_copy(update={name: _WITHOUT[name] for name in names})


def _sides(rows: Rows, spec: Splits, seed: int, steps: list[str]) -> Ints:
    """Each row's split as a position in `SPLITS`; `steps` gets a line on every decision."""
    side = np.where(rows.genus >= 0, _TRAIN, _UNUSED)
    steps.append(f"{len(side):,} specimens")
    _note(steps, "with a genus", side)
    home = None if spec.home is None else _home(rows, side == _TRAIN, spec.home)
    if spec.cap is not None:
        side[_beyond(rows, np.flatnonzero(side == _TRAIN), spec.cap, seed)] = _UNUSED
        _note(steps, f"at most {spec.cap} a species", side)
    if home is not None:
        side[(side == _TRAIN) & (rows.institution != home)] = _HERBARIUM
        side[rows.institution < 0] = _UNUSED
        _note(steps, f"home {rows.institutions[home]}", side)
    side[_of_held_out_species(rows, np.flatnonzero(side == _TRAIN), spec.species, seed)] = _SPECIES
    _one_side_a_gathering(rows, side)
    _note(steps, "species held out, gatherings on one side", side)
    pool = np.flatnonzero(side == _TRAIN)
    units = Units.of(rows, pool, seed, "random")
    chosen = units.share(spec.random, np.zeros_like(units.leader))
    side[pool[chosen[units.member]]] = _RANDOM
    _drop_unknown_genera(rows, side, spec.min_train)
    _note(steps, f"random held out, genera of at least {spec.min_train} training specimens", side)
    _draw_validation(rows, side, spec, seed)
    return side


def _home(rows: Rows, used: Mask, home: str) -> int:
    """The home institution's code."""
    counts = np.bincount(rows.institution[used & (rows.institution >= 0)], minlength=len(rows.institutions))
    if not counts.any():
        raise EmptySplit(
            "herbarium: no specimen with a genus has an institution, so none is away from home; "
            "fill the catalogue's institution column, or set splits.home=null to go without this test"
        )
    if home == AUTO:
        return min(range(len(counts)), key=lambda code: (-counts[code], rows.institutions[code]))
    if home not in rows.institutions:
        known = ", ".join(sorted(rows.institutions)[:20])
        raise ValueError(f"splits.home={home}: no such institution in the catalogue, which has {known}")
    return rows.institutions.index(home)


def _beyond(rows: Rows, pool: Ints, cap: int, seed: int) -> Ints:
    """The rows that a species has above the cap; specimens named to the genus only count as one species of it."""
    group = np.where(rows.species >= 0, rows.species, len(rows.species_names) + rows.genus)[pool]
    order = np.lexsort((draws(seed, "cap", (rows.ids[row] for row in pool.tolist())), group))
    ordered = group[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return pool[order[place >= cap]]


def _of_held_out_species(rows: Rows, pool: Ints, share: float, seed: int) -> Ints:
    """The rows whose species is among the share that is held out (one species at least, unless the share is 0)."""
    species = np.unique(rows.species[pool][rows.species[pool] >= 0])
    count = max(1, int(share * len(species) + 0.5)) if share > 0 else 0
    shuffle = draws(seed, "species", (rows.species_names[code] for code in species.tolist()))
    return pool[np.isin(rows.species[pool], species[np.argsort(shuffle, kind="stable")[:count]])]


def _one_side_a_gathering(rows: Rows, side: Ints) -> None:
    """Leave the sheets of a gathering on the side that takes precedence; the others become unused."""
    gathered = rows.gathering >= 0
    claims = _PRECEDENCE[side]
    strongest = np.zeros(len(rows.gatherings), np.int64)
    np.maximum.at(strongest, rows.gathering[gathered], claims[gathered])
    lost = gathered.copy()
    lost[gathered] = claims[gathered] < strongest[rows.gathering[gathered]]
    side[lost] = _UNUSED


def _drop_unknown_genera(rows: Rows, side: Ints, least: int) -> None:
    """A genus with fewer training specimens than `least` leaves every split."""
    determined = rows.genus >= 0
    trained = np.bincount(rows.genus[side == _TRAIN], minlength=rows.genus.max(initial=-1) + 1)
    side[determined] = np.where(trained[rows.genus[determined]] < least, _UNUSED, side[determined])


def _draw_validation(rows: Rows, side: Ints, spec: Splits, seed: int) -> None:
    """Hold out the validation; a genus that would keep too few training specimens takes its gatherings back."""
    pool = np.flatnonzero(side == _TRAIN)
    units = Units.of(rows, pool, seed, "validation")
    genus = rows.genus[units.leader]
    chosen = units.share(spec.validation, genus if spec.stratify else np.zeros_like(genus))
    trained = np.bincount(rows.genus[pool], ~chosen[units.member], minlength=rows.genus.max(initial=-1) + 1)
    needy = trained[rows.genus[pool]] < spec.min_train
    chosen[units.member[needy]] = False
    side[pool[chosen[units.member]]] = _VALIDATION


def _note(steps: list[str], step: str, side: Ints) -> None:
    counts = np.bincount(side, minlength=len(SPLITS))
    told = [f"{name} {counts[code]:,}" for code, name in enumerate(SPLITS) if counts[code] or code == _TRAIN]
    steps.append(f"{step}: {', '.join(told)}")


_WAYS_OUT: Final = {
    _TRAIN: "give more specimens of each genus, set splits.home=null to train on those of all institutions, or lower "
    "splits.min_train, splits.species or splits.random",
    _VALIDATION: "set a larger splits.validation, or splits.validation=0 to go without",
    _HERBARIUM: "set splits.home to another institution, or splits.home=null to go without this test",
    _SPECIES: "set a larger splits.species, or splits.species=0 to go without this test",
    _RANDOM: "set a larger splits.random, or splits.random=0 to go without this test",
}


def _check(rows: Rows, side: Ints, spec: Splits, steps: list[str]) -> None:
    wanted = {
        _TRAIN: True,
        _VALIDATION: spec.validation > 0 and "validation" in spec.model_fields_set,
        _HERBARIUM: spec.home is not None,
        _SPECIES: spec.species > 0,
        _RANDOM: spec.random > 0,
    }
    told = "\n".join(f"  {step}" for step in steps)
    for code, way_out in _WAYS_OUT.items():
        if wanted[code] and not (side == code).any():
            raise EmptySplit(f"split {SPLITS[code]!r} is empty; {way_out}. On the way there were\n{told}")
    if len(np.unique(rows.genus[side == _TRAIN])) < 2:
        raise ValueError(
            "one genus only would train, and an encoder learns from the differences between genera; "
            f"{_WAYS_OUT[_TRAIN]}. On the way there were\n{told}"
        )


def _check_genera(genus: pa.ChunkedArray) -> None:
    """Refuse a catalogue of one genus, whatever the settings."""
    names = pc.unique(genus).drop_null().to_pylist()
    if len(names) == 1:
        raise ValueError(
            f"all {len(genus) - genus.null_count:,} specimens are of one genus, {names[0]}, and the genus is what an "
            "encoder is trained to tell: add sheets of other genera, or take another column for the genus, such as "
            "that of the species (of the source `folder`: source.columns.genus=COLUMN)"
        )
