"""One pressed plant: stems, leaves where its kind puts them, flowers or fruits, roots."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic import leaf, organs
from herbray.data.sources.synthetic.habits import HABITS, Growth, Press
from herbray.data.sources.synthetic.strokes import Colour, Strokes, colour, tinted
from herbray.data.sources.synthetic.traits import Traits

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pressed:
    """A plant as strokes, and the lines along which it is taped down."""

    strokes: Strokes
    spines: list[Points]


def press(traits: Traits, condition: Press, rng: np.random.Generator) -> Pressed:
    """A plant of these looks in that condition; what is left to chance comes from `rng`."""
    growth = Growth()
    HABITS[traits.habit](growth, traits, condition, rng)
    strokes = Strokes()
    stem, blade = colours(traits, condition, rng)
    for x, y, size in growth.roots:
        organs.roots(strokes, x, y, size, rng)
    for path, foot, tip in growth.stems:
        strokes.ribbon(path, stem, foot, tip)
    _lay_leaves(strokes, traits, growth, condition, blade, rng)
    if condition.season != "sterile" and traits.inflorescence != "none":
        for x, y, heading in growth.tips:
            organs.inflorescence(strokes, traits, x, y, heading, condition.season == "fruit", stem, rng)
    return Pressed(strokes, _spines(growth))


def _spines(growth: Growth) -> list[Points]:
    """The main stem, or the three longest leaves of a plant without one."""
    stem = growth.stems[0][0]
    if np.hypot(*(stem[-1] - stem[0])) > 0.35:
        return [stem]
    longest = sorted(growth.leaves, key=lambda placed: -placed[3])[:3]
    t = np.linspace(0, 0.9, 25)[:, None]
    return [np.array([x, y]) + t * size * np.array([np.cos(angle), np.sin(angle)]) for x, y, angle, size in longest]


def colours(traits: Traits, condition: Press, rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Stem and leaf colour: how a plant was dried and how old it is counts for more than its species."""
    brown = np.clip(0.3 * traits.drying + 0.7 * condition.dried, 0, 1)
    scale = ((88, 104, 58), (128, 112, 62), (84, 58, 38))  # green, khaki, dark brown
    leaf_tone = np.array([np.interp(2 * brown, (0, 1, 2), channel) for channel in zip(*scale, strict=True)])
    leaf_tone = leaf_tone * (0.88 + 0.24 * rng.random())
    wood = np.array([104, 78, 50]) * (0.8 + 0.4 * rng.random())
    stem_tone = wood if traits.habit == "shrub" else 0.6 * leaf_tone + 0.4 * wood
    return colour(stem_tone), colour(leaf_tone)


def _lay_leaves(
    strokes: Strokes, traits: Traits, growth: Growth, condition: Press, tone: Colour, rng: np.random.Generator
) -> None:
    """Every leaf is the plant's one leaf, turned, scaled, bent and foreshortened in its own way."""
    if not growth.leaves:
        return
    shape = leaf.build(traits)
    placed = np.array(growth.leaves)[rng.permutation(len(growth.leaves))]
    count = len(placed)
    bend = traits.bend * rng.normal(0, 1, count) + 0.25 * traits.bend * np.sign(np.cos(placed[:, 2]))
    narrow = 1 - 0.3 * rng.random(count) ** 2
    flat = _bent(shape.points, placed, bend, narrow)
    shade = rng.normal(0, 0.06, count)
    underside = rng.random(count) < 0.2
    for points, size, light, turned in zip(flat, placed[:, 3], shade, underside, strict=True):
        base = tinted(tone, float(np.clip(light + 0.16 * turned, -0.3, 0.35)))
        dark, edge = tinted(base, -0.1), tinted(base, -0.38)
        vein = tinted(base, -0.3 if turned else 0.22)
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


def _bent(points: leaf.Points, placed: Points, bend: Points, narrow: Points) -> npt.NDArray[np.float32]:
    """(n, 2) leaf points at each of (m, 4) places, curved along an arc: (m, n, 2)."""
    curve = np.where(np.abs(bend) < 1e-3, 1e-3, bend)[:, None]
    along = curve * points[:, 0]
    side = points[:, 1] * narrow[:, None]
    x = np.sin(along) / curve - side * np.sin(along)
    y = (1 - np.cos(along)) / curve + side * np.cos(along)
    size, cos, sin = placed[:, 3:], np.cos(placed[:, 2:3]), np.sin(placed[:, 2:3])
    return np.stack(
        [placed[:, :1] + size * (x * cos - y * sin), placed[:, 1:2] + size * (x * sin + y * cos)], axis=2
    ).astype(np.float32)
