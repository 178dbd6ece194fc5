"""Growth habits: where a plant of each habit has stems, leaves, flowers and roots."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic.traits import Traits

Points = npt.NDArray[np.float64]
UP: Final = np.pi / 2


@dataclass(frozen=True)
class PlantCondition:
    """Properties of an individual plant that do not depend on its species."""

    dried: float  # 0 green to 1 brown-black
    season: str  # flower · fruit · sterile
    vigour: float  # size of leaves, around 1
    stature: float  # length of stems, around 1


@final
@dataclass
class Growth:
    """Positions of organs, collected while stems grow; lengths in sheet widths, directions in radians."""

    leaves: list[tuple[float, float, float, float]] = field(default_factory=list)  # x, y, direction, length
    stems: list[tuple[Points, float, float]] = field(default_factory=list)  # path, widths at foot and tip
    tips: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, direction of inflorescences
    roots: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, size


def _grow_shrub(growth: Growth, traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> None:
    """A cut twig: woody, forked, leaves towards the ends."""
    length = 0.95 * condition.stature
    twig = _draw_path(0, 0, UP + rng.normal(0, 0.12), length, rng.normal(0, 0.35), 0.12, rng)
    growth.stems.append((twig, 0.02, 0.006))
    _add_branches(growth, traits, condition, twig, length, 0.011, rng)
    _add_leaves(growth, traits, condition, twig, length, 0.25, rng)


def _grow_herb(growth: Growth, traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> None:
    """An upright herb lifted with its roots, leaves smaller upwards."""
    length = 1.05 * condition.stature
    stem = _draw_path(0, 0, UP + rng.normal(0, 0.06), length, rng.normal(0, 0.25), 0.07, rng)
    growth.stems.append((stem, 0.014, 0.006))
    growth.roots.append((0.0, 0.0, 0.13 + 0.08 * rng.random()))
    _add_branches(growth, traits, condition, stem, length, 0.007, rng)
    _add_leaves(growth, traits, condition, stem, length, 0.06, rng)


def _grow_climber(growth: Growth, traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> None:
    """A vine laid over the sheet in a loop."""
    length = 1.55 * condition.stature
    side = 1 if rng.random() < 0.5 else -1
    half = _draw_path(0, 0, UP - 0.5 * side, 0.55 * length, 1.1 * side, 0.12, rng)
    last = half[-1] - half[-2]
    x, y = half[-1]
    rest = _draw_path(x, y, float(np.arctan2(last[1], last[0])), 0.45 * length, -1.7 * side, 0.12, rng)
    vine = np.concatenate([half, rest[1:]])
    growth.stems.append((vine, 0.011, 0.005))
    _add_leaves(growth, traits, condition, vine, length, 0.04, rng)


def _grow_rosette(growth: Growth, traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> None:
    """Leaves in a fan from the root, flowers on bare scapes."""
    size = 1.25 * traits.length * condition.vigour
    scapes = 1 + int(2.2 * rng.random()) if condition.season != "sterile" else 0
    _add_scapes(growth, max(1, scapes), (0.7 if scapes else 0.08) * condition.stature, 0.25, bool(scapes), rng)
    count = 7 + int(6 * rng.random())
    for angle in np.linspace(-1.45, 1.45, count) + rng.normal(0, 0.1, count):
        growth.leaves.append((0.0, 0.0, UP + angle, size * (0.75 + 0.25 * np.cos(angle)) * rng.uniform(0.75, 1.1)))
    growth.roots.append((0.0, 0.0, (0.3 + 0.4 * size) * rng.uniform(0.4, 0.6)))


def _grow_tuft(growth: Growth, traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> None:
    """A grass-like tuft."""
    size = 1.25 * traits.length * condition.vigour
    scapes = 2 + int(3 * rng.random()) if condition.season != "sterile" else 0
    _add_scapes(growth, max(1, scapes), (0.85 if scapes else 0.1) * condition.stature, 0.3, bool(scapes), rng)
    count = 9 + int(9 * rng.random())
    fan = np.radians(traits.spread) * 1.1
    for angle in rng.normal(0, fan / 1.6, count):
        growth.leaves.append((rng.normal(0, 0.012), 0.0, UP + angle, size * rng.uniform(0.55, 1.1)))
    growth.roots.append((0.0, 0.0, 0.12 + 0.08 * rng.random()))


def _grow_fern(growth: Growth, traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> None:
    """A few fronds from a short rhizome."""
    size = 1.15 * traits.length * condition.vigour
    count = 2 + int(4 * rng.random())
    foot = _draw_path(-0.03, 0.0, -0.2, 0.09, 0.4, 0.3, rng)
    growth.stems.append((foot, 0.026, 0.018))
    for angle in np.linspace(-0.42, 0.42, count) + rng.normal(0, 0.09, count):
        growth.leaves.append((0.03 * angle, 0.0, UP + angle, size * rng.uniform(0.72, 1.05)))
    growth.roots.append((0.0, -0.01, 0.12 + 0.06 * rng.random()))


HABITS: Final[dict[str, Callable[[Growth, Traits, PlantCondition, np.random.Generator], None]]] = {
    "shrub": _grow_shrub,
    "herb": _grow_herb,
    "climber": _grow_climber,
    "rosette": _grow_rosette,
    "tuft": _grow_tuft,
    "fern": _grow_fern,
}


def _add_scapes(
    growth: Growth, count: int, length: float, fan: float, flowering: bool, rng: np.random.Generator
) -> None:  # fmt: skip
    for angle in rng.normal(0, fan, count):
        reach = length * rng.uniform(0.75, 1.15)
        scape = _draw_path(0, 0, UP + angle, reach, rng.normal(0, 0.3), 0.06, rng)
        growth.stems.append((scape, 0.01, 0.005))
        if flowering:
            growth.tips.append(_locate_end(scape))


def _add_branches(
    growth: Growth, traits: Traits, condition: PlantCondition, axis: Points, length: float, width: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Add side branches with leaves."""
    count = round(traits.branching * 8 * rng.uniform(0.6, 1.4))
    places = np.sort(rng.uniform(0.15, 0.75, count))
    for index, (x, y, heading) in enumerate(_locate_nodes(axis, places)):
        side = 1 if index % 2 else -1
        reach = length * rng.uniform(0.4, 0.62) * (1 - 0.45 * places[index])
        branch = _draw_path(x, y, heading + side * np.radians(rng.uniform(32, 58)), reach, -0.35 * side, 0.1, rng)
        growth.stems.append((branch, width, 0.004))
        _add_leaves(growth, traits, condition, branch, reach, 0.2, rng)


def _add_leaves(
    growth: Growth,
    traits: Traits,
    condition: PlantCondition,
    axis: Points,
    length: float,
    bare: float,
    rng: np.random.Generator,
) -> None:
    """Add leaves at the nodes of a stem above its bare part, and flowers at its end or in its axils."""
    whorl = {"alternate": 1, "opposite": 2, "whorled": 4}[traits.arrangement]
    crowd = {1: 1.0, 2: 1.35, 4: 1.8}[whorl]
    big = traits.form in ("pinnate", "trifoliate", "digitate")
    gap = traits.internode * crowd * {"pinnate": 1.35, "trifoliate": 1.5, "digitate": 1.8}.get(traits.form, 1.0)
    nodes = max(3, min(16, round(length * (1 - bare) / gap)))
    places = bare + (1 - bare) * (np.arange(nodes) + 0.5) / nodes
    smaller = 1 - 0.5 * places**2 if traits.habit == "herb" else 1 - 0.3 * places**4
    size = traits.length * condition.vigour * (1.15 if big else 1.0) * (0.8 if whorl == 4 else 1.0)
    for index, (x, y, heading) in enumerate(_locate_nodes(axis, places)):
        first = 1 if index % 2 else -1
        for turn in _leaf_angles(whorl, first, np.radians(traits.spread) * (1 - 0.35 * places[index])):
            angle = heading + turn + rng.normal(0, 0.13)
            growth.leaves.append((x, y, angle, size * float(smaller[index]) * rng.uniform(0.8, 1.12)))
            if traits.inflorescence == "axillary" and rng.random() < 0.6 and index > 0:
                growth.tips.append((x, y, heading + 0.55 * turn))
    end = _locate_end(axis)
    if traits.inflorescence != "axillary":
        growth.tips.append(end)
    growth.leaves.append((*end[:2], end[2] + rng.normal(0, 0.2), 0.55 * size))


def _leaf_angles(whorl: int, first: int, spread: float) -> tuple[float, ...]:
    if whorl == 1:
        return (first * spread,)
    if whorl == 2:
        return (spread, -spread)
    return (spread * 0.6, -spread * 0.6, spread * 1.5, -spread * 1.5)


def _draw_path(
    x: float, y: float, heading: float, length: float, curve: float, wobble: float, rng: np.random.Generator
) -> Points:
    """Draw a stem of 25 points that bends by `curve` radians in total, with random deviations of size `wobble`."""
    steps = 24
    turn = heading + curve * np.linspace(0, 1, steps) + np.cumsum(rng.normal(0, wobble / steps**0.5, steps))
    path = np.zeros((steps + 1, 2))
    path[1:] = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0) * (length / steps)
    path += (x, y)
    return path


def _locate_nodes(axis: Points, places: Points) -> Iterator[tuple[float, float, float]]:
    """Yield x, y and direction of a stem at the given shares of its length."""
    at = np.clip(places, 0, 1) * (len(axis) - 1)
    low = np.minimum(at.astype(int), len(axis) - 2)
    step = axis[low + 1] - axis[low]
    point = axis[low] + step * (at - low)[:, None]
    heading = np.arctan2(step[:, 1], step[:, 0])
    yield from zip(point[:, 0].tolist(), point[:, 1].tolist(), heading.tolist(), strict=True)


def _locate_end(axis: Points) -> tuple[float, float, float]:
    step = axis[-1] - axis[-3]
    return float(axis[-1, 0]), float(axis[-1, 1]), float(np.arctan2(step[1], step[0]))
