"""A flora with the counts of Herbarium 2021 Half-Earth, and its `metadata.json`; no image is drawn here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from herbray.benchmark.contests.sizes import letters

Ints = npt.NDArray[np.int64]

SHEETS: Final = 2_257_759
SPECIES: Final = 64_500
GENERA: Final = 6_437
FAMILIES: Final = 451
ORDERS: Final = 81
"""Counts of the challenge's training part (Walker et al. 2022, de Lutio et al. 2021)."""

TABLE_2: Final = {"train": 424_544, "validation": 106_136, "herbarium": 139_529, "species": 62_997, "random": 58_886}
"""Sizes of the study's splits (Walker et al. 2022, Table 2)."""

INSTITUTIONS: Final = (
    "New York Botanical Garden",
    "Bishop Museum",
    "Naturalis Biodiversity Center",
    "Queensland Herbarium",
    "Auckland War Memorial Museum",
)

_LEAST: Final = 3  # sheets of a species, as the challenge's page says
_COMMONEST: Final = 1.7  # standard deviations at which the size of a species is cut off
_CAP: Final = 25  # the study's, per species
_CAPPED: Final = 800_000 / SHEETS  # share of the sheets within the cap: Table 2 adds up to 792,092, and rare names drop
_HOME_SPECIES: Final = 0.823  # share of species that are New York's, so that it has 82 % of the capped sheets
_HOME: Final = 0.98  # New York's share of the sheets of such a species
_AWAY: Final = 0.1  # and of the others


@dataclass(frozen=True)
class Flora:
    """The sheets of a flora.

    Attributes:
        species: of each sheet, Int64 [sheets].
        institution: of each sheet, a position in `INSTITUTIONS`.
        genus: of each species, Int64 [species].
        family: of each genus.
        order: of each family.
    """

    species: Ints
    institution: Ints
    genus: Ints
    family: Ints
    order: Ints


def grow(scale: float, seed: int) -> Flora:
    """Draw a flora of `scale` × the challenge's counts; the sheets are in random order.

    Sizes have a long tail: lognormal, with at least three sheets a species and cut off at hundreds. Its width is fitted
    so that a cap of 25 sheets a species leaves as many as the study's splits hold.
    """
    rng = np.random.default_rng(seed)
    sheets, species = max(900, round(SHEETS * scale)), max(90, round(SPECIES * scale))
    genera, families = max(20, round(GENERA * scale)), max(8, round(FAMILIES * scale))
    orders = max(4, round(ORDERS * scale))
    normal = np.minimum(rng.standard_normal(species), _COMMONEST)
    counts = _share_out(sheets, np.exp(_fit_width(normal, sheets) * normal), _LEAST, rng)
    genus, family, order = (
        np.repeat(np.arange(parts), _share_out(whole, rng.lognormal(0, 1.5, parts), 1, rng))
        for whole, parts in ((species, genera), (genera, families), (families, orders))
    )
    of_sheet = rng.permutation(np.repeat(np.arange(species), counts))
    home = rng.random(species) < _HOME_SPECIES
    main = rng.integers(1, len(INSTITUTIONS), species)  # the herbarium where a species that is not New York's is common
    other = np.where(rng.random(sheets) < 0.8, main[of_sheet], rng.integers(1, len(INSTITUTIONS), sheets))
    is_home = rng.random(sheets) < np.where(home, _HOME, _AWAY)[of_sheet]
    return Flora(of_sheet, np.where(is_home, 0, other), rng.permutation(genus), family, order)


def _fit_width(normal: npt.NDArray[np.float64], sheets: int) -> float:
    """The width of the lognormal at which the cap leaves the share `_CAPPED`, by bisection."""
    low, high = 0.0, 6.0
    for _ in range(40):
        width = (low + high) / 2
        weights = np.exp(width * normal)
        expected = _LEAST + (sheets - _LEAST * len(normal)) * weights / weights.sum()
        low, high = (width, high) if np.minimum(expected, _CAP).sum() > _CAPPED * sheets else (low, width)
    return low


def _share_out(whole: int, weights: npt.NDArray[np.float64], least: int, rng: np.random.Generator) -> Ints:
    """Divide `whole` things among parts at random by their weights, at least `least` each."""
    return least + rng.multinomial(whole - least * len(weights), weights / weights.sum())


def image_name(sheet: int, species: int) -> str:
    """Where the challenge has the image of a sheet, below the folder of `metadata.json`."""
    return f"images/{species // 100:03d}/{species % 100:02d}/{sheet}.jpg"


def write_metadata(flora: Flora, path: Path) -> None:
    """Write the metadata in the challenge's form, row by row."""
    parts = {
        "annotations": _annotations(flora),
        "categories": _categories(flora),
        "images": _images(flora),
        "institutions": (json.dumps({"id": n, "name": name}) for n, name in enumerate(INSTITUTIONS)),
        "licenses": iter([json.dumps({"id": 0, "name": "drawn by herbray benchmark"})]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number, (name, rows) in enumerate(parts.items()):
            file.write(f'{"," if number else "{"}\n"{name}": [\n')
            for place, row in enumerate(rows):
                file.write(f",\n{row}" if place else row)
            file.write("\n]")
        file.write("\n}\n")


def _annotations(flora: Flora) -> Iterator[str]:
    pairs = zip(flora.species.tolist(), flora.institution.tolist(), strict=True)
    for sheet, (species, institution) in enumerate(pairs):
        yield f'{{"id":{sheet},"image_id":{sheet},"category_id":{species},"institution_id":{institution}}}'


def _images(flora: Flora) -> Iterator[str]:
    for sheet, species in enumerate(flora.species.tolist()):
        name = image_name(sheet, species)
        yield f'{{"id":{sheet},"width":667,"height":1000,"file_name":"{name}","license":0}}'


def _categories(flora: Flora) -> Iterator[str]:
    for species, genus in enumerate(flora.genus.tolist()):
        yield json.dumps({"id": species, **name_species(flora, species, genus)})


def name_species(flora: Flora, species: int, genus: int) -> dict[str, Any]:
    """The names of a species, as a category of the challenge."""
    family = int(flora.family[genus])
    return {
        "name": f"Planta{letters(genus)} epithet{letters(species)}",
        "family": f"Famil{letters(family)}aceae",
        "order": f"Ordo{letters(int(flora.order[family]))}ales",
    }
