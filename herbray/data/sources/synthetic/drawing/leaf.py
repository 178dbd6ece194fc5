"""The outlines and veins of a leaf: computes polylines from traits, without painting."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from herbray.data.sources.synthetic.traits import Traits

Points = npt.NDArray[np.float32]

BLADE: Final = "blade"
SHADE: Final = "shade"
RIB: Final = "rib"
VEINS: Final = "veins"


@dataclass(frozen=True)
class Part:
    """A run of a leaf's points: a filled `BLADE` or `SHADE`, or a drawn `RIB` or `VEINS`."""

    kind: str
    start: int
    stop: int
    size: float  # of the blade it belongs to, as a share of the leaf's length


@dataclass(frozen=True)
class Leaf:
    """A leaf along the x axis, with the foot of its petiole at the origin and its tip at x = 1."""

    points: Points  # (n, 2)
    parts: tuple[Part, ...]


def build_leaf(traits: Traits) -> Leaf:
    """Build the leaf of a plant: a simple blade, or leaflets along or around a stalk."""
    stalk = min(traits.petiole, 0.6)
    if traits.form in ("pinnate", "frond"):
        pieces = _pinnate(traits, stalk)
    elif traits.form in ("trifoliate", "digitate"):
        pieces = _digitate(traits, stalk)
    else:
        pieces = [Piece(RIB, np.array([[0, 0], [stalk, 0]]), 0.7)]
        pieces += _place(_blade(traits, traits.slenderness, detail=_count_side_points(traits)), stalk, 0.0, 1 - stalk)
    return _join(pieces)


def _count_side_points(traits: Traits) -> int:
    """Return the number of points along a side that draws teeth and lobes sharply."""
    if traits.margin != "entire":
        return 5 * round(traits.teeth) + 1
    return 30 if traits.form == "simple" else 60


class Piece(NamedTuple):
    """A part of a leaf before its final placement."""

    kind: str
    points: npt.NDArray[np.float64]
    size: float = 1.0


def _join(pieces: list[Piece]) -> Leaf:
    ends = np.cumsum([len(piece.points) for piece in pieces]).tolist()
    parts = (
        Part(piece.kind, end - len(piece.points), end, piece.size) for piece, end in zip(pieces, ends, strict=True)
    )
    return Leaf(np.concatenate([piece.points for piece in pieces]).astype(np.float32), tuple(parts))


def _place(pieces: list[Piece], x: float, angle: float, size: float) -> list[Piece]:
    """Pieces scaled by `size`, turned by `angle` (radians) and moved to (x, 0)."""
    cos, sin = np.cos(angle) * size, np.sin(angle) * size
    turn = np.array([[cos, sin], [-sin, cos]])
    return [Piece(piece.kind, piece.points @ turn + (x, 0), piece.size * size) for piece in pieces]


def _blade(traits: Traits, slenderness: float, detail: int, toothed: bool = True) -> list[Piece]:
    """A blade from the origin to (1, 0): outline, its darker half, midrib and side veins.

    Args:
        traits: shape, margin and venation.
        slenderness: length ÷ width.
        detail: points along one side.
        toothed: whether to draw teeth; small leaflets have none.
    """
    t = np.linspace(0, 1, detail)
    half = _profile(traits, t) / (2 * slenderness)
    along = t.copy()
    if traits.form == "lobed":
        half = half * (1 - traits.lobing * (0.5 + 0.5 * np.cos(2 * np.pi * (t * round(traits.lobes) + 0.5))) ** 0.8)
        along = along + 0.05 * traits.lobing * np.sin(2 * np.pi * t * round(traits.lobes)) * t * (1 - t) * 4
    elif traits.form == "palmate":
        along, half = _palmate(traits, slenderness, detail)
    if toothed and traits.margin != "entire":
        half, along = _teeth(traits, t, half, along)
    if traits.form != "palmate":
        along = along - 0.14 * traits.heart * (t / 0.05) * np.exp(1 - t / 0.05) * min(1.0, 2.0 / slenderness)
    upper = np.stack([along, half], axis=1)
    lower = upper[::-1] * (1, -1)
    midrib = np.array([[0, 0], [1 / 3, 0], [2 / 3, 0], [0.99, 0]])
    return [
        Piece(BLADE, np.concatenate([upper, lower])),
        Piece(SHADE, np.concatenate([upper * (1, -1), midrib[::-1]])),
        Piece(VEINS, _veins(traits, slenderness)),
        Piece(RIB, midrib),
    ]


def _profile(traits: Traits, t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Half-width along a blade, at most 1: a beta curve, with a drawn-out tip if the species has one."""
    widest = traits.widest * (1 - 0.35 * traits.heart)
    sharp = 1.15 + 0.75 * traits.point
    rise, fall = widest * sharp, (1 - widest) * sharp
    rise = min(rise, 0.95 - 0.5 * traits.heart)
    curve = t**rise * (1 - t) ** fall
    body = curve / curve.max()
    taper = np.clip((t - 0.72) / 0.28, 0, 1)
    return np.asarray(body * (1 - 0.55 * max(0.0, traits.point - 0.5) * np.sin(np.pi * taper)))


def _palmate(traits: Traits, slenderness: float, detail: int) -> tuple[npt.NDArray[np.float64], ...]:
    """A side of a maple-like blade: lobes fan out from a point near the foot."""
    lobes = 3 if traits.lobes < 3.6 else 5 if traits.lobes < 5 else 7
    angle = np.linspace(np.pi * 0.96, 0, detail)
    reach = 0.42 + 0.58 * np.cos(angle / 2) ** 1.5  # side lobes are shorter
    phase = angle * lobes / (2 * 0.80 * np.pi)
    notch = np.abs(np.sin(np.pi * phase)) ** 1.3
    radius = reach * (1 - traits.lobing * 0.85 * notch) * np.where(angle > 0.9 * np.pi, 0.6, 1.0)
    foot = 0.28
    along = foot + (1 - foot) * radius * np.cos(angle)
    side = (1 - foot) * radius * np.sin(angle) * min(1.0, 1.25 / slenderness)
    along[0], side[0] = 0.0, 0.0
    return along, side


def _teeth(
    traits: Traits, t: npt.NDArray[np.float64], half: npt.NDArray[np.float64], along: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Teeth on a side: forward-pointing saws (serrate) or round scallops (crenate)."""
    phase = t * round(traits.teeth)
    inside = np.sin(np.pi * t) ** 0.5
    if traits.margin == "serrate":
        saw = phase % 1.0
        bite, lean = saw - 0.5, 0.35 * saw / traits.teeth
    else:
        bite, lean = np.abs(np.sin(np.pi * phase)) - 0.64, np.zeros_like(t)
    size = 0.05 + 0.17 * traits.depth
    half = np.maximum(half * (1 + size * bite * inside * 1.4) + 0.012 * traits.depth * bite * inside, 0.0)
    return half, along + lean * traits.depth


def _veins(traits: Traits, slenderness: float) -> npt.NDArray[np.float64]:
    """All side veins as one line, which returns along the midrib between veins."""
    if traits.venation == "parallel":
        return _parallel(traits, slenderness)
    pairs = max(2, round(traits.veins))
    roots = np.linspace(0.06, 0.86, pairs)
    if traits.venation == "palmate":
        roots = roots * np.linspace(0.1, 1.0, pairs) ** 0.8
    steep = 0.75 if traits.venation == "pinnate" else 1.1
    tips = np.minimum(roots + steep * _profile(traits, roots) / (2 * slenderness), 0.97)
    reach = _profile(traits, tips) / (2 * slenderness) * 0.88  # a vein ends just inside the margin
    if traits.form in ("lobed", "palmate"):
        reach = reach * (1 - 0.6 * traits.lobing)
    path = []
    for root, side, tip in zip(roots, reach, tips, strict=True):
        bow = root + 0.42 * (tip - root)
        path += [(root, 0), (bow, 0.6 * side), (tip, side), (bow, 0.6 * side)]
        path += [(root, 0), (bow, -0.6 * side), (tip, -side), (bow, -0.6 * side), (root, 0)]
    return np.array(path)


def _parallel(traits: Traits, slenderness: float) -> npt.NDArray[np.float64]:
    t = np.linspace(0, 0.99, 9)
    half = _profile(traits, t) / (2 * slenderness)
    runs = []
    for index, share in enumerate((0.35, -0.35, 0.7, -0.7)):
        run = np.stack([t, half * share], axis=1)
        runs.append(run if index % 2 == 0 else run[::-1])
    return np.concatenate(runs)


def _pinnate(traits: Traits, stalk: float) -> list[Piece]:
    """Leaflets in pairs along a rachis; those of a frond get shorter towards the tip and have lobes."""
    pairs = max(2, round(traits.lobes))
    frond = traits.form == "frond"
    roots = stalk + (1 - stalk) * np.linspace(0.06, 0.93 if frond else 0.84, pairs)
    place = (roots - stalk) / (1 - stalk)
    if frond:
        outline = (1 - place) ** 0.8 * np.minimum(1, 0.55 + place / (0.7 * traits.widest + 0.05))
        sizes = outline * (1 - stalk) * 1.75 / traits.slenderness
        room = 0.8 * (1 - stalk) / pairs  # so that pinnae hardly touch
        leaflet = _blade(traits, max(2.4, float(sizes.max()) / room), detail=18)
    else:
        spacing = (1 - stalk) / pairs
        sizes = (0.75 + 0.5 * np.sin(np.pi * (0.15 + 0.7 * place))) * min(0.36, 1.45 * spacing)
        leaflet = _blade(traits, max(1.3, traits.slenderness), detail=18, toothed=traits.habit == "fern")
    tilt = np.radians(82 - 0.35 * traits.spread) if frond else np.radians(np.clip(traits.spread + 12, 40, 80))
    pieces: list[Piece] = [Piece(RIB, np.array([[0, 0], [0.5, 0], [0.97, 0]]), 0.7)]
    leaflet = _drop_hidden_parts(leaflet, keep_veins=not frond and sizes.max() > 0.14)
    for root, size, where in zip(roots, sizes, place, strict=True):
        for side in (1, -1):
            pieces += _place(leaflet, root, side * tilt * (1 - 0.25 * where), float(size))
    if not frond:
        pieces += _place(leaflet, 0.97 - 0.25 * float(sizes[-1]), 0.0, float(sizes[-1]))
    return pieces


def _digitate(traits: Traits, stalk: float) -> list[Piece]:
    """Three leaflets, or five to nine around one point."""
    stalk = max(stalk, 0.28)
    count = 3 if traits.form == "trifoliate" else 5 + 2 * round((traits.lobes - 3) / 3)
    fan = np.radians(np.linspace(-1, 1, count) * (88 if count == 3 else 125))
    leaflet = _drop_hidden_parts(_blade(traits, max(1.35, traits.slenderness), detail=28), keep_veins=True)
    pieces: list[Piece] = [Piece(RIB, np.array([[0, 0], [stalk, 0]]), 0.7)]
    for angle in sorted(fan, key=abs, reverse=True):
        size = (1 - stalk) * (1 - 0.28 * (abs(angle) / 2.2) ** 1.5)
        pieces += _place(leaflet, stalk, float(angle), float(size))
    return pieces


def _drop_hidden_parts(pieces: list[Piece], keep_veins: bool) -> list[Piece]:
    """Drop the parts of a leaflet that are too small to see."""
    return [piece for piece in pieces if piece.kind != VEINS or keep_veins]
