"""Draw one pressed plant: stems, leaves, flowers or fruits, roots."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic.drawing import leaf, organs
from herbray.data.sources.synthetic.drawing.habits import HABITS, Growth, PlantCondition
from herbray.data.sources.synthetic.drawing.strokes import Colour, Strokes, tint, to_colour
from herbray.data.sources.synthetic.traits import Traits

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PressedPlant:
    """A plant as strokes, and the lines along which it is taped to the sheet."""

    strokes: Strokes
    spines: list[Points]


def press_plant(traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> PressedPlant:
    """Draw a plant with the given traits and condition; `rng` decides the rest."""
    growth = Growth()
    HABITS[traits.habit](growth, traits, condition, rng)
    strokes = Strokes()
    stem, blade = draw_colours(traits, condition, rng)
    for x, y, size in growth.roots:
        organs.draw_roots(strokes, x, y, size, rng)
    for path, foot, tip in growth.stems:
        strokes.ribbon(path, stem, foot, tip)
    _draw_leaves(strokes, traits, growth, condition, blade, rng)
    if condition.season != "sterile" and traits.inflorescence != "none":
        for x, y, heading in growth.tips:
            organs.draw_inflorescence(strokes, traits, x, y, heading, condition.season == "fruit", stem, rng)
    return PressedPlant(strokes, _find_spines(growth))


def _find_spines(growth: Growth) -> list[Points]:
    """Return the main stem, or the three longest leaves of a plant without a main stem."""
    stem = growth.stems[0][0]
    if np.hypot(*(stem[-1] - stem[0])) > 0.35:
        return [stem]
    longest = sorted(growth.leaves, key=lambda placed: -placed[3])[:3]
    t = np.linspace(0, 0.9, 25)[:, None]
    return [np.array([x, y]) + t * size * np.array([np.cos(angle), np.sin(angle)]) for x, y, angle, size in longest]


def draw_colours(traits: Traits, condition: PlantCondition, rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Draw stem and leaf colour, which depend more on drying and age than on the species."""
    brown = np.clip(0.3 * traits.drying + 0.7 * condition.dried, 0, 1)
    scale = ((88, 104, 58), (128, 112, 62), (84, 58, 38))  # green, khaki, dark brown
    leaf_tone = np.array([np.interp(2 * brown, (0, 1, 2), channel) for channel in zip(*scale, strict=True)])
    leaf_tone = leaf_tone * (0.88 + 0.24 * rng.random())
    wood = np.array([104, 78, 50]) * (0.8 + 0.4 * rng.random())
    stem_tone = wood if traits.habit == "shrub" else 0.6 * leaf_tone + 0.4 * wood
    return to_colour(stem_tone), to_colour(leaf_tone)


def _draw_leaves(
    strokes: Strokes, traits: Traits, growth: Growth, condition: PlantCondition, tone: Colour, rng: np.random.Generator
) -> None:
    """Draw every leaf as a turned, scaled, bent and foreshortened copy of one leaf shape."""
    if not growth.leaves:
        return
    shape = leaf.build_leaf(traits)
    placed = np.array(growth.leaves)[rng.permutation(len(growth.leaves))]
    count = len(placed)
    bend = traits.bend * rng.normal(0, 1, count) + 0.25 * traits.bend * np.sign(np.cos(placed[:, 2]))
    narrow = 1 - 0.3 * rng.random(count) ** 2
    flat = _bend_leaf(shape.points, placed, bend, narrow)
    shade = rng.normal(0, 0.06, count)
    underside = rng.random(count) < 0.2
    for points, size, light, turned in zip(flat, placed[:, 3], shade, underside, strict=True):
        base = tint(tone, float(np.clip(light + 0.16 * turned, -0.3, 0.35)))
        dark, edge = tint(base, -0.1), tint(base, -0.38)
        vein = tint(base, -0.3 if turned else 0.22)
        looks = {leaf.VEINS: (vein, 0.004), leaf.RIB: (edge, 0.014)}
        for part in shape.parts:
            run = points[part.start : part.stop]
            if part.kind == leaf.BLADE:
                strokes.fill(run, base, edge)
            elif part.kind == leaf.SHADE:
                strokes.fill(run, dark)
            else:
                ink, width = looks[part.kind]
                strokes.line(run, ink, width * size * part.size)


def _bend_leaf(points: leaf.Points, placed: Points, bend: Points, narrow: Points) -> npt.NDArray[np.float32]:
    """Bend leaf points (n, 2) along an arc and move them to each of the places (m, 4): (m, n, 2)."""
    curve = np.where(np.abs(bend) < 1e-3, 1e-3, bend)[:, None]
    along = curve * points[:, 0]
    side = points[:, 1] * narrow[:, None]
    x = np.sin(along) / curve - side * np.sin(along)
    y = (1 - np.cos(along)) / curve + side * np.cos(along)
    size, cos, sin = placed[:, 3:], np.cos(placed[:, 2:3]), np.sin(placed[:, 2:3])
    return np.stack(
        [placed[:, :1] + size * (x * cos - y * sin), placed[:, 1:2] + size * (x * sin + y * cos)], axis=2
    ).astype(np.float32)
