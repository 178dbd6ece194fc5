"""The study's splits (Walker et al. 2022, doi 10.3389/fpls.2021.806407), a pure function of catalogue and seed."""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec
from herbray.data.draws import draw_numbers
from herbray.data.labels import ALL, read_labels
from herbray.data.splitting.draw_units import CodedRows, DrawUnits, Ints, Mask
from herbray.schema import RANKS, SPLITS

AUTO: Final = "auto"

_TRAIN, _VALIDATION, _HERBARIUM, _SPECIES, _RANDOM, _UNUSED = range(len(SPLITS))
_DISABLED: Final = {
    "species": 0.0,
    "home": None,
    "random": 0.0,
}  # values that disable a test, in the order in which tests are dropped

_PRECEDENCE: Final = np.array([2, 2, 1, 3, 2, 0])  # if several splits claim a gathering, the highest keeps it


class EmptySplit(ValueError):
    """The training split, or a split that the user requested, is empty; the message has counts and what to change."""


class Splits(Spec):
    """How specimens are split; the defaults are those of the study.

    A test that only the defaults request is left out if it would be empty or leave too few genera to train on. A test
    that the user's settings request must not be empty.

    Attributes:
        cap: maximum number of specimens used per species; null for no limit.
        home: code of the institution to train on, or a list of codes; the other institutions are the herbarium test.
            "auto" selects the institution with most specimens; null trains on all institutions, without a herbarium
            test.
        species: share of the home institution's species held out as the species test; 0 for no test.
        random: share of the remaining specimens held out as the random test; 0 for no test.
        validation: share of the training specimens held out for validation during training; 0 for none.
        stratify: draw the validation split within each label instead of from all specimens.
        min_train: minimum number of training specimens of a label; smaller ones are in no split.
    """

    cap: int | None = Field(default=25, ge=1)
    home: str | tuple[str, ...] | None = Field(default=AUTO, min_length=1)
    species: float = Field(default=0.10, ge=0, lt=1)
    random: float = Field(default=0.10, ge=0, lt=1)
    validation: float = Field(default=0.20, ge=0, lt=1)
    stratify: bool = True
    min_train: int = Field(default=2, ge=1)


def split(catalogue: pa.Table, spec: Splits, seed: int, rank: str = "genus") -> pa.Array:
    """Assign each specimen to a split.

    The steps are: cap each species; the herbarium test gets all specimens outside the home institution; the species
    test gets all specimens of a share of the home species; the random test gets a share of the remaining specimens;
    labels with fewer than `min_train` training specimens are removed from all splits; the rest is divided into training
    and validation.

    Sheets of one gathering are never in two splits. Random draws select gatherings (specimens, if the gathering is
    unknown). If the rules assign sheets of one gathering to several splits, one split keeps its sheets (species before
    train, validation and random; these before herbarium) and the other sheets are unused. Every label of a test or of
    validation has at least `min_train` specimens in training.

    A specimen without a label is unused. Specimens without a species are capped together within their label and are
    never in the species test. A specimen without an institution is unused, unless `home` is null.

    Args:
        catalogue: rows in `herbray.schema.CATALOGUE`, `specimen_id` unique.
        spec: the settings.
        seed: seed of every draw; the result depends on the seed and the content of rows, never on their order.
        rank: rank of the labels, that is, of the names on which encoders are trained.

    Returns:
        One of `herbray.schema.SPLITS` per row.

    Raises:
        EmptySplit: the training split, or a split that the user's settings request, is empty. Splits that only the
            defaults request may be empty, see `herbray.data.splitting.empty_splits`.
        ValueError: the catalogue is empty or repeats an id, does not contain `home`, or would train a single label.
    """
    order = _sort_by_id(catalogue)
    _check_labels(read_labels(catalogue, rank), rank)
    rows = CodedRows.from_catalogue(
        catalogue.select(["specimen_id", *RANKS, "institution", "gathering"]).take(order), rank
    )
    assigned = _assign_possible_splits(rows, spec, seed, rank)
    by_row = np.empty_like(assigned)
    by_row[order] = assigned
    return pc.cast(pa.DictionaryArray.from_arrays(by_row.astype(np.int8), list(SPLITS)), pa.string())


def _sort_by_id(catalogue: pa.Table) -> Ints:
    """Return row numbers sorted by id, so that the order of rows has no influence, not even on ties."""
    if len(catalogue) == 0:
        raise ValueError("the catalogue has no rows to split")
    order = pc.sort_indices(catalogue["specimen_id"])
    ids = catalogue["specimen_id"].take(order)
    repeated = ids.slice(1).filter(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
    if len(repeated) or ids.null_count:
        example = repr(repeated[0].as_py()) if len(repeated) else "null"
        raise ValueError(f"specimen_id must be unique: {example} is not; `herbray catalogue` quarantines such rows")
    numbers: Ints = order.to_numpy().astype(np.int64)
    return numbers


def _assign_possible_splits(rows: CodedRows, spec: Splits, seed: int, rank: str) -> Ints:
    """Assign splits (positions in `SPLITS`), with as many as possible of the tests that only the defaults request."""
    faults: list[ValueError] = []
    for fewer in _drop_optional_tests(spec):
        steps: list[str] = []
        try:
            assigned = _assign_splits(rows, fewer, seed, steps, rank)
            _check_not_empty(rows, assigned, fewer, steps, rank)
        except ValueError as fault:
            faults.append(fault)
        else:
            return assigned
    raise faults[0]


def _drop_optional_tests(spec: Splits) -> Iterator[Splits]:
    """Yield the settings, then variants without one, two and all of the tests that the user has not requested."""
    optional = [name for name in _DISABLED if name not in spec.model_fields_set]
    for many in range(len(optional) + 1):
        for names in combinations(optional, many):
            yield spec.model_copy(update={name: _DISABLED[name] for name in names})


def _assign_splits(rows: CodedRows, spec: Splits, seed: int, steps: list[str], rank: str) -> Ints:
    """Assign each row a split as a position in `SPLITS`; append a line to `steps` for every decision."""
    assigned = np.where(rows.label >= 0, _TRAIN, _UNUSED)
    steps.append(f"{len(assigned):,} specimens")
    _record_step(steps, f"with a name at rank {rank}", assigned)
    home = None if spec.home is None else _find_home(rows, assigned == _TRAIN, spec.home)
    if spec.cap is not None:
        assigned[_find_rows_above_cap(rows, np.flatnonzero(assigned == _TRAIN), spec.cap, seed)] = _UNUSED
        _record_step(steps, f"at most {spec.cap} a species", assigned)
    if home is not None:
        assigned[(assigned == _TRAIN) & ~np.isin(rows.institution, home)] = _HERBARIUM
        assigned[rows.institution < 0] = _UNUSED
        _record_step(steps, f"home {', '.join(rows.institutions[code] for code in home)}", assigned)
    assigned[_draw_species(rows, np.flatnonzero(assigned == _TRAIN), spec.species, seed)] = _SPECIES
    _keep_gatherings_together(rows, assigned)
    _record_step(steps, "species held out, gatherings in one split", assigned)
    pool = np.flatnonzero(assigned == _TRAIN)
    units = DrawUnits.from_rows(rows, pool, seed, "random")
    chosen = units.choose_share(spec.random, np.zeros_like(units.leader))
    assigned[pool[chosen[units.member]]] = _RANDOM
    _drop_small_labels(rows, assigned, spec.min_train)
    _record_step(steps, f"random held out, names of at least {spec.min_train} training specimens", assigned)
    _draw_validation(rows, assigned, spec, seed)
    return assigned


def _find_home(rows: CodedRows, used: Mask, home: str | tuple[str, ...]) -> list[int]:
    """Return the codes of the home institutions."""
    counts = np.bincount(rows.institution[used & (rows.institution >= 0)], minlength=len(rows.institutions))
    if not counts.any():
        raise EmptySplit(
            "herbarium: no specimen with a label has an institution, so none is outside the home institution; "
            "fill the catalogue's institution column, or set splits.home=null to go without this test"
        )
    if home == AUTO:
        return [min(range(len(counts)), key=lambda code: (-counts[code], rows.institutions[code]))]
    wanted = (home,) if isinstance(home, str) else home
    if unknown := [code for code in wanted if code not in rows.institutions]:
        choices = ", ".join(sorted(rows.institutions)[:20])
        raise ValueError(f"splits.home={unknown[0]}: no such institution in the catalogue; choose from {choices}")
    return [rows.institutions.index(code) for code in wanted]


def _find_rows_above_cap(rows: CodedRows, pool: Ints, cap: int, seed: int) -> Ints:
    """Return rows above the cap of their species; specimens without a species count as one species of their label."""
    group = np.where(rows.species >= 0, rows.species, len(rows.species_names) + rows.label)[pool]
    order = np.lexsort((draw_numbers(seed, "cap", (rows.ids[row] for row in pool.tolist())), group))
    sorted_groups = group[order]
    position = np.arange(len(order)) - np.searchsorted(sorted_groups, sorted_groups)
    return pool[order[position >= cap]]


def _draw_species(rows: CodedRows, pool: Ints, share: float, seed: int) -> Ints:
    """Return the rows of a share of the species, drawn at random (at least one species, unless the share is 0)."""
    species = np.unique(rows.species[pool][rows.species[pool] >= 0])
    count = max(1, int(share * len(species) + 0.5)) if share > 0 else 0
    shuffle = draw_numbers(seed, "species", (rows.species_names[code] for code in species.tolist()))
    return pool[np.isin(rows.species[pool], species[np.argsort(shuffle, kind="stable")[:count]])]


def _keep_gatherings_together(rows: CodedRows, assigned: Ints) -> None:
    """Keep the sheets of a gathering only in the split that takes precedence; its other sheets become unused."""
    gathered = rows.gathering >= 0
    claims = _PRECEDENCE[assigned]
    strongest = np.zeros(len(rows.gatherings), np.int64)
    np.maximum.at(strongest, rows.gathering[gathered], claims[gathered])
    lost = gathered.copy()
    lost[gathered] = claims[gathered] < strongest[rows.gathering[gathered]]
    assigned[lost] = _UNUSED


def _drop_small_labels(rows: CodedRows, assigned: Ints, least: int) -> None:
    """Remove labels with fewer than `least` training specimens from all splits."""
    determined = rows.label >= 0
    trained = np.bincount(rows.label[assigned == _TRAIN], minlength=rows.label.max(initial=-1) + 1)
    assigned[determined] = np.where(trained[rows.label[determined]] < least, _UNUSED, assigned[determined])


def _draw_validation(rows: CodedRows, assigned: Ints, spec: Splits, seed: int) -> None:
    """Draw the validation split; a label that would keep too few training specimens gives no validation specimens."""
    pool = np.flatnonzero(assigned == _TRAIN)
    units = DrawUnits.from_rows(rows, pool, seed, "validation")
    label = rows.label[units.leader]
    chosen = units.choose_share(spec.validation, label if spec.stratify else np.zeros_like(label))
    trained = np.bincount(rows.label[pool], ~chosen[units.member], minlength=rows.label.max(initial=-1) + 1)
    is_too_small = trained[rows.label[pool]] < spec.min_train
    chosen[units.member[is_too_small]] = False
    assigned[pool[chosen[units.member]]] = _VALIDATION


def _record_step(steps: list[str], step: str, assigned: Ints) -> None:
    counts = np.bincount(assigned, minlength=len(SPLITS))
    lines = [f"{name} {counts[code]:,}" for code, name in enumerate(SPLITS) if counts[code] or code == _TRAIN]
    steps.append(f"{step}: {', '.join(lines)}")


_REMEDIES: Final = {
    _TRAIN: "provide more specimens of each name, set splits.home=null to train on all institutions, or lower "
    "splits.min_train, splits.species or splits.random",
    _VALIDATION: "set a larger splits.validation, or splits.validation=0 to go without",
    _HERBARIUM: "set splits.home to another institution, or splits.home=null to go without this test",
    _SPECIES: "set a larger splits.species, or splits.species=0 to go without this test",
    _RANDOM: "set a larger splits.random, or splits.random=0 to go without this test",
}


def _check_not_empty(rows: CodedRows, assigned: Ints, spec: Splits, steps: list[str], rank: str) -> None:
    wanted = {
        _TRAIN: True,
        _VALIDATION: spec.validation > 0 and "validation" in spec.model_fields_set,
        _HERBARIUM: spec.home is not None,
        _SPECIES: spec.species > 0,
        _RANDOM: spec.random > 0,
    }
    lines = "\n".join(f"  {step}" for step in steps)
    for code, remedy in _REMEDIES.items():
        if wanted[code] and not (assigned == code).any():
            raise EmptySplit(f"split {SPLITS[code]!r} is empty; {remedy}. Counts after each step:\n{lines}")
    if len(np.unique(rows.label[assigned == _TRAIN])) < 2:
        raise ValueError(
            f"only one {rank} would be left to train on, but an encoder learns from the differences between names; "
            f"{_REMEDIES[_TRAIN]}. Counts after each step:\n{lines}"
        )


def _check_labels(labels: pa.ChunkedArray, rank: str) -> None:
    """Refuse a catalogue with a single label, whatever the settings."""
    names = pc.unique(labels).drop_null().to_pylist()
    if len(names) == 1:
        what = "name" if rank == ALL else rank
        finer = () if rank == ALL else RANKS[RANKS.index(rank) + 1 :]
        hint = f", or train on the {finer[0]} with labels.rank={finer[0]}" if finer else ""
        raise ValueError(
            f"all {len(labels) - labels.null_count:,} specimens are of one {what}, {names[0]}, but encoders are "
            f"trained to distinguish names: add sheets of another {what}{hint}"
        )
    if not names:
        raise EmptySplit(
            f"split 'train' is empty: no specimen has a name at rank {rank}; set labels.rank to a rank that the "
            "catalogue has names of"
        )
