"""The flora: a tree of invented taxa whose traits are inherited order → family → genus → species."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic import names
from herbray.data.sources.synthetic.traits import (
    ARCHETYPES,
    CHOICE_TRAITS,
    Archetype,
    Traits,
    derive_child,
    draw_ancestor,
)

_GOLDEN: Final = (5**0.5 - 1) / 2
_STREAM: Final = {"order": 1, "family": 2, "genus": 3, "species": 4, "names": 5, "sizes": 6, "turns": 7}


@dataclass(frozen=True)
class Taxon:
    """A species with its lineage, its traits and its share of all gatherings."""

    order: str
    family: str
    genus: str
    species: str  # genus and epithet
    traits: Traits
    archetype: Archetype
    share: float  # of all gatherings; long-tailed, sums to 1 over a flora


@dataclass(frozen=True)
class FloraSizes:
    """Number of taxa at each rank; positive, and at each rank at least as large as at the rank above."""

    orders: int
    families: int
    genera: int
    species: int


@lru_cache(maxsize=8)
def grow_flora(sizes: FloraSizes, seed: int) -> tuple[Taxon, ...]:
    """Make the species of a flora, a pure function of `sizes` and `seed`.

    Siblings differ less than cousins: every rank adds variation to the traits of the rank above. Some parents have many
    children and most have few; a family is named after its first genus and an order after its first family.
    """
    sizing = np.random.default_rng([seed, _STREAM["sizes"]])
    order_of = _assign_parents(sizes.families, sizes.orders, sizing)
    family_of = _assign_parents(sizes.genera, sizes.families, sizing)
    genus_of = _assign_parents(sizes.species, sizes.genera, sizing)
    genera = names.invent_genera(sizes.genera, np.random.default_rng([seed, _STREAM["names"]]))

    kinds = [ARCHETYPES[index % len(ARCHETYPES)] for index in range(sizes.orders)]
    orders = [draw_ancestor(kind, _rng(seed, "order", index)) for index, kind in enumerate(kinds)]
    families = [
        derive_child(orders[parent], kinds[parent], "family", _rng(seed, "family", index), turn)
        for index, (parent, turn) in enumerate(_spread_siblings(order_of, seed, "order"))
    ]
    lines = [
        derive_child(families[parent], kinds[order_of[parent]], "genus", _rng(seed, "genus", index), turn)
        for index, (parent, turn) in enumerate(_spread_siblings(family_of, seed, "family"))
    ]
    stems = [names.derive_stem(genera[family_of.index(family)][0]) for family in range(sizes.families)]
    shares = _draw_shares(genus_of, sizes.genera, sizing)
    epithets = _name_species(genus_of, genera, seed)
    taxa = []
    for index, genus in enumerate(genus_of):
        family = family_of[genus]
        order = order_of[family]
        taxa.append(
            Taxon(
                order=stems[order_of.index(order)] + "ales",
                family=stems[family] + "aceae",
                genus=genera[genus][0],
                species=f"{genera[genus][0]} {epithets[index]}",
                traits=derive_child(lines[genus], kinds[order], "species", _rng(seed, "species", index)),
                archetype=kinds[order],
                share=shares[index],
            )
        )
    return tuple(taxa)


def _rng(seed: int, rank: str, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAM[rank], index])


def _spread_siblings(parents: list[int], seed: int, rank: str) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield each child's parent and its positions among trait choices, which differ between siblings."""
    for index, parent in enumerate(parents):
        start = np.random.default_rng([seed, _STREAM["turns"], _STREAM[rank], parent]).random(len(CHOICE_TRAITS))
        yield parent, (start + (index - parents.index(parent)) * _GOLDEN) % 1


def _assign_parents(children: int, parents: int, rng: np.random.Generator) -> list[int]:
    """Assign a parent to each child, sorted: two thirds of the children evenly, the rest in long-tailed numbers."""
    even = np.repeat(np.arange(parents), max(1, round(2 * children / (3 * parents))))[:children]
    weights = 1 / (1 + np.arange(parents)) ** 0.5
    extra = rng.choice(parents, size=children - len(even), p=rng.permutation(weights / weights.sum()))
    return [int(parent) for parent in np.sort(np.concatenate([even, extra]))]


def _draw_shares(genus_of: list[int], genera: int, rng: np.random.Generator) -> list[float]:
    """Draw how often each species is collected: Zipf over genera, and again over the species of a genus."""
    of_genus = rng.permutation(1 / (1 + np.arange(genera)) ** 0.6)
    first = np.searchsorted(genus_of, genus_of)  # genus_of is sorted
    weights = 1 / (1 + np.arange(len(genus_of)) - first) ** 0.8
    totals = np.bincount(genus_of, weights=weights, minlength=genera)
    shares = weights / totals[genus_of] * of_genus[genus_of]
    return [float(share) for share in shares / shares.sum()]


def _name_species(genus_of: list[int], genera: list[tuple[str, str]], seed: int) -> list[str]:
    counts = np.bincount(genus_of, minlength=len(genera)).tolist()
    found: list[str] = []
    for genus, ((_, gender), count) in enumerate(zip(genera, counts, strict=True)):
        found += names.invent_epithets(count, gender, _rng(seed, "names", genus))
    return found
