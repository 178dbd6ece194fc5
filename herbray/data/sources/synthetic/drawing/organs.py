"""Flowers, fruits and roots, drawn as strokes at a position on the plant."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic.drawing.strokes import Colour, Strokes, mix, tint
from herbray.data.sources.synthetic.traits import PALETTES, Traits

Points = npt.NDArray[np.float64]
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 13)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 13)[:-1])], axis=1)


def draw_inflorescence(
    strokes: Strokes,
    traits: Traits,
    x: float,
    y: float,
    heading: float,
    fruiting: bool,
    stem: Colour,
    rng: np.random.Generator,
) -> None:
    """Draw the flowers or fruits at the end of a stem, with their stalks.

    Args:
        strokes: receives the strokes.
        traits: kind of inflorescence, size, number and colour of flowers, kind of fruit.
        x: x coordinate of the stem's tip.
        y: y coordinate of the stem's tip.
        heading: direction of the stem in radians.
        fruiting: draw fruits instead of flowers.
        stem: colour of the stalks.
        rng: random generator for the differences between tips.
    """
    petal = _petal_colour(traits, rng)
    for u, v, angle, size in _draw_stalks(strokes, traits, x, y, heading, stem, rng):
        if fruiting:
            _draw_fruit(strokes, traits, u, v, angle, size, rng)
        else:
            _draw_flower(strokes, traits, u, v, angle, size, petal, rng)


def _draw_stalks(
    strokes: Strokes, traits: Traits, x: float, y: float, heading: float, stem: Colour, rng: np.random.Generator
) -> Iterator[tuple[float, float, float, float]]:
    """Draw the stalks and yield the positions of flowers: x, y, direction, diameter."""
    size, kind = traits.flower, traits.inflorescence
    if kind in ("solitary", "axillary"):
        reach = 0.04 if kind == "axillary" else 0.02
        yield from _draw_each_stalk(strokes, np.array([[x, y]]), np.array([heading]), reach, size * 1.3, stem)
    elif kind == "umbel":
        rays = 5 + round(5 * traits.bloom)
        fan = heading + np.linspace(-1.2, 1.2, rays) + rng.normal(0, 0.08, rays)
        reach = 0.075 + 0.05 * rng.random()
        yield from _draw_each_stalk(strokes, np.repeat([[x, y]], rays, axis=0), fan, reach, size * 0.62, stem)
    elif kind in ("raceme", "spike"):
        count = 8 + round(9 * traits.bloom)
        yield from _draw_side_stalks(
            strokes, traits, x, y, heading, 0.26 if kind == "raceme" else 0.2, count, stem, rng
        )
    elif kind == "panicle":
        length = 0.24
        axis = _axis(x, y, heading, length)
        strokes.line(axis, stem, 0.004)
        for place in (0.15, 0.4, 0.65, 0.9):
            side = 1 if rng.random() < 0.5 else -1
            u, v = axis[0] + (axis[-1] - axis[0]) * place
            for turn in (side, -side):
                twig = heading + turn * (0.9 - 0.3 * place)
                count = 2 + round(2.2 * traits.bloom * (1.1 - place))
                yield from _draw_side_stalks(
                    strokes, traits, u, v, twig, length * (0.55 - 0.4 * place), count, stem, rng
                )


def _draw_side_stalks(
    strokes: Strokes, traits: Traits, x: float, y: float, heading: float, length: float, count: int, stem: Colour,
    rng: np.random.Generator,
) -> Iterator[tuple[float, float, float, float]]:  # fmt: skip
    axis = _axis(x, y, heading, length)
    strokes.line(axis, stem, 0.004)
    place = (np.arange(count) + 0.6) / count
    side = np.where(np.arange(count) % 2, 1.0, -1.0)
    feet = axis[0] + (axis[-1] - axis[0]) * place[:, None]
    turn = heading + side * (1.1 - 0.4 * place) + rng.normal(0, 0.1, count)
    sessile = traits.inflorescence == "spike"
    size = traits.flower * (0.5 if sessile else 0.66) * (1.15 - 0.6 * place)
    yield from _draw_each_stalk(strokes, feet, turn, 0.008 if sessile else 0.035, size, stem)


def _axis(x: float, y: float, heading: float, length: float) -> Points:
    return np.array([[x, y], [x + length * np.cos(heading), y + length * np.sin(heading)]])


def _draw_each_stalk(
    strokes: Strokes, feet: Points, turn: Points, reach: float, size: float | Points, stem: Colour
) -> Iterator[tuple[float, float, float, float]]:
    tips = feet + reach * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    sizes = np.broadcast_to(size, len(feet))
    for foot, tip, angle, diameter in zip(feet, tips, turn, sizes, strict=True):
        strokes.line(np.stack([foot, tip]), stem, 0.0035)
        yield float(tip[0]), float(tip[1]), float(angle), float(diameter)


def _petal_colour(traits: Traits, rng: np.random.Generator) -> Colour:
    """The species' petal colour, faded by a random amount."""
    return mix(PALETTES[traits.palette], (146, 112, 78), 0.55 * float(rng.random()))


def _draw_flower(
    strokes: Strokes,
    traits: Traits,
    x: float,
    y: float,
    angle: float,
    size: float,
    petal: Colour,
    rng: np.random.Generator,
) -> None:
    """Draw a corolla of `traits.petals` petals, pressed flat, or half shut and seen from the side."""
    petals = round(traits.petals)
    daisy = petals >= 11
    turn, squash, shut = rng.random(3)
    around = np.linspace(0, 2 * np.pi, max(4 * petals, 20), endpoint=False)
    wave = np.abs(np.cos(petals * around / 2))
    radius = size / 2 * ((0.72 + 0.28 * wave) if daisy else (0.34 + 0.66 * wave**0.7))
    corolla = np.stack([np.cos(around + turn) * radius, np.sin(around + turn) * radius], axis=1)
    corolla[:, 0] *= 0.55 if shut < 0.3 else 0.85 + 0.15 * squash
    spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array([x, y]) + spin[0] * size * 0.3
    strokes.fill(corolla @ spin + middle, tint(petal, 0.12 * squash), tint(petal, -0.35))
    disc = 0.22 if daisy else 0.12
    strokes.fill(_CIRCLE * size * disc + middle, (148, 110, 44) if daisy else tint(petal, -0.4))


def _draw_fruit(
    strokes: Strokes, traits: Traits, x: float, y: float, angle: float, size: float, rng: np.random.Generator
) -> None:
    spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    ripe = rng.random()
    if traits.fruit == "berry":
        tone = tint((84, 38, 36), 0.15 * ripe)
        centre = np.array([x, y]) + spin[0] * size * 0.3
        strokes.fill(_CIRCLE * size * 0.34 + centre, tone, tint(tone, -0.4))
        strokes.fill(_CIRCLE * size * 0.09 + centre + (-size * 0.1, size * 0.12), tint(tone, 0.45))
    elif traits.fruit == "pod":
        t = np.linspace(0, 1, 14)
        half = 0.13 * np.sin(np.pi * t) ** 0.4 * (0.85 + 0.15 * np.cos(2 * np.pi * 4 * t))
        bow = 0.28 * t * (1 - t) * (2 * ripe - 0.6)
        outline = np.concatenate([np.stack([t, bow + half], 1), np.stack([t, bow - half], 1)[::-1]])
        strokes.fill(outline * size * 1.9 @ spin + (x, y), tint((118, 84, 46), 0.2 * ripe), (70, 46, 26))
    elif traits.fruit == "samara":
        wing = np.array([[0, 0], [0.35, 0.2], [0.9, 0.24], [1.0, 0.08], [0.7, -0.06], [0.2, -0.08]])
        strokes.fill(wing * size * 1.5 @ spin + (x, y), tint((172, 138, 88), 0.2 * ripe), (112, 82, 48))
        strokes.fill(_CIRCLE * size * 0.16 + (x, y), (96, 66, 38))
    else:
        urn = _CIRCLE * (0.4, 0.26) + (0.36, 0)
        strokes.fill(urn * size @ spin + (x, y), tint((128, 96, 56), 0.2 * ripe), (78, 54, 30))
        strokes.line(np.array([[0, 0], [0.76, 0]]) * size @ spin + (x, y), (78, 54, 30), 0.003)


def draw_roots(strokes: Strokes, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    """Draw a tuft of roots below the foot of a herb."""
    count = 7 + int(6 * rng.random())
    t = np.linspace(0, 1, 7)
    for angle, length, sway in zip(
        np.linspace(-1.1, 1.1, count), rng.random(count), rng.normal(0, 0.12, (count, 7)), strict=True
    ):
        reach = size * (0.45 + 0.55 * length)
        bend = angle * (1 - 0.35 * t) + np.cumsum(sway) * 0.6
        step = reach / 6
        path = np.stack([x + np.cumsum(np.sin(bend)) * step, y - np.cumsum(np.cos(bend)) * step], axis=1)
        path[0] = x, y
        strokes.ribbon(path, (98 + int(24 * length), 80, 56), 0.007, 0.002)
