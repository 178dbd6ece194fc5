"""The appearance of plants as traits that can be inherited."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Traits:
    """The traits of a taxon or a plant. Lengths are shares of the sheet's width; other units are in the comments."""

    habit: str  # shrub · herb · climber · rosette · tuft · fern
    arrangement: str  # alternate · opposite · whorled
    form: str  # simple · lobed · palmate (lobes) · pinnate · trifoliate · digitate (leaflets) · frond
    margin: str  # entire · serrate · crenate
    venation: str  # pinnate · palmate · parallel
    inflorescence: str  # solitary · raceme · spike · umbel · panicle · axillary · none
    fruit: str  # berry · capsule · pod · samara
    palette: str  # of the petals: a key of `PALETTES`
    petals: float  # number; 11 or more make a daisy
    length: float  # of a leaf
    slenderness: float  # length of a blade ÷ its width
    widest: float  # where a blade is widest, 0 base to 1 tip
    point: float  # 0 a round tip to 1 a drawn-out one
    heart: float  # 0 a wedge-shaped base to 1 a heart-shaped one
    teeth: float  # along one side
    depth: float  # of teeth, 0 to 1
    lobing: float  # depth of lobes, 0 to 1
    lobes: float  # number of lobe or leaflet pairs
    veins: float  # pairs of side veins
    petiole: float  # ÷ leaf length
    internode: float  # between two nodes
    spread: float  # angle between a leaf and its stem, degrees
    branching: float  # share of nodes that bear a branch
    flower: float  # diameter of a flower
    bloom: float  # number of flowers, relative
    drying: float  # 0 stays green to 1 turns black-brown
    bend: float  # curvature of a leaf


PALETTES: Final[Mapping[str, tuple[int, int, int]]] = {
    "white": (226, 214, 182),
    "yellow": (214, 171, 62),
    "pink": (193, 120, 126),
    "red": (156, 58, 50),
    "violet": (116, 84, 136),
    "blue": (92, 104, 156),
    "orange": (201, 122, 50),
}
"""Petal colours after drying."""

Choice = tuple[str, ...]
Range = tuple[float, float]


@dataclass(frozen=True)
class Archetype:
    """The traits that an order may have: the choices and ranges from which its families draw."""

    choices: Mapping[str, Choice]
    ranges: Mapping[str, Range] = field(default_factory=dict)


_DEFAULT_CHOICES: Final[Mapping[str, Choice]] = {
    "arrangement": ("alternate",),
    "margin": ("entire", "serrate", "crenate"),
    "venation": ("pinnate",),
    "fruit": ("berry", "capsule"),
    "palette": tuple(PALETTES),
}
_DEFAULT_RANGES: Final[Mapping[str, Range]] = {
    "petals": (4.0, 6.9),
    "length": (0.16, 0.36),
    "slenderness": (1.2, 4.2),
    "widest": (0.3, 0.62),
    "point": (0.0, 1.0),
    "heart": (0.0, 1.0),
    "teeth": (6.0, 15.0),
    "depth": (0.35, 1.0),
    "lobing": (0.35, 0.8),
    "lobes": (2.0, 4.9),
    "veins": (4.0, 11.0),
    "petiole": (0.02, 0.3),
    "internode": (0.07, 0.16),
    "spread": (32.0, 72.0),
    "branching": (0.05, 0.4),
    "flower": (0.03, 0.075),
    "bloom": (0.5, 1.5),
    "drying": (0.0, 1.0),
    "bend": (0.0, 0.7),
}
ARCHETYPES: Final = (
    Archetype(  # laurels, myrtles, coffees: woody, whole leaves
        {
            "habit": ("shrub",),
            "arrangement": ("alternate", "opposite", "opposite"),
            "form": ("simple",),
            "margin": ("entire", "entire", "serrate", "crenate"),
            "inflorescence": ("axillary", "panicle", "solitary", "umbel"),
            "fruit": ("berry", "berry", "capsule", "samara"),
        },
        {"branching": (0.15, 0.5)},
    ),
    Archetype(  # legumes: leaflets and pods
        {
            "habit": ("shrub", "herb", "climber"),
            "form": ("pinnate", "pinnate", "trifoliate", "digitate"),
            "margin": ("entire",),
            "inflorescence": ("raceme", "umbel", "spike", "axillary"),
            "fruit": ("pod",),
        },
        {"lobes": (3.0, 8.9), "length": (0.2, 0.4), "slenderness": (1.3, 3.6), "heart": (0.0, 0.3)},
    ),
    Archetype(  # daisies, mints, carrots: herbs with roots
        {
            "habit": ("herb", "herb", "rosette"),
            "arrangement": ("alternate", "opposite", "whorled"),
            "form": ("simple", "lobed", "lobed", "palmate"),
            "margin": ("serrate", "crenate", "entire"),
            "inflorescence": ("umbel", "spike", "solitary", "panicle", "raceme"),
            "fruit": ("capsule",),
        },
        {"petals": (4.0, 16.0), "branching": (0.0, 0.3), "flower": (0.035, 0.1)},
    ),
    Archetype(  # lilies, sedges, irises: parallel veins
        {
            "habit": ("tuft", "tuft", "herb", "rosette"),
            "form": ("simple",),
            "margin": ("entire",),
            "venation": ("parallel",),
            "inflorescence": ("spike", "umbel", "solitary", "panicle", "raceme"),
            "fruit": ("capsule",),
        },
        {
            "petals": (3.0, 6.9),
            "length": (0.3, 0.75),
            "slenderness": (5.0, 24.0),
            "heart": (0.0, 0.1),
            "petiole": (0.0, 0.03),
            "spread": (14.0, 38.0),
            "point": (0.3, 1.0),
            "branching": (0.0, 0.05),
        },
    ),
    Archetype(  # ferns: fronds, no flowers
        {
            "habit": ("fern",),
            "form": ("frond", "frond", "pinnate"),
            "margin": ("serrate", "crenate", "entire"),
            "inflorescence": ("none",),
        },
        {
            "lobes": (7.0, 17.0),
            "length": (0.6, 1.0),
            "slenderness": (2.2, 5.0),
            "petiole": (0.2, 0.45),
            "teeth": (5.0, 10.0),
            "heart": (0.0, 0.3),
            "widest": (0.2, 0.5),
            "bend": (0.1, 0.9),
        },
    ),
    Archetype(  # mallows, vines, maples: broad leaves with veins from one point
        {
            "habit": ("climber", "shrub", "herb"),
            "arrangement": ("alternate", "opposite"),
            "form": ("palmate", "simple", "digitate"),
            "margin": ("serrate", "crenate", "entire"),
            "venation": ("palmate",),
            "inflorescence": ("axillary", "panicle", "umbel"),
            "fruit": ("capsule", "samara", "berry"),
        },
        {"slenderness": (0.95, 1.6), "heart": (0.4, 1.0), "petiole": (0.25, 0.7), "widest": (0.28, 0.45)},
    ),
)

NUMBER_TRAITS: Final = tuple(_DEFAULT_RANGES)
"""Traits with continuous values; the others are choices."""

CHOICE_TRAITS: Final = tuple(entry.name for entry in fields(Traits) if entry.name not in _DEFAULT_RANGES)

DRIFT: Final[Mapping[str, float]] = {"family": 0.2, "genus": 0.2, "species": 0.07, "plant": 0.03}
"""Standard deviation of a number around its value at the rank above, as a share of its range."""

CHOICE_CHANCES: Final[Mapping[str, float]] = {"family": 1.0, "genus": 0.5, "species": 0.05, "plant": 0.0}
"""Probability that a rank draws a choice again from the choices of its order."""


def draw_ancestor(archetype: Archetype, rng: np.random.Generator) -> Traits:
    """Draw the traits at the root of an order: every choice and every number from its archetype."""
    choices: dict[str, Any] = {name: _pick(_choice(archetype, name), rng) for name in CHOICE_TRAITS}
    numbers: dict[str, Any] = {
        name: low + (high - low) * rng.random() for name in NUMBER_TRAITS for low, high in [_range(archetype, name)]
    }
    return Traits(**choices, **numbers)


def derive_child(
    parent: Traits,
    archetype: Archetype,
    rank: str,
    rng: np.random.Generator,
    turn: npt.NDArray[np.float64] | None = None,
) -> Traits:
    """Derive the traits of a child from `parent`, with the variation of its rank.

    Args:
        parent: looks of the rank above.
        archetype: of the order.
        rank: of the child, a key of `DRIFT`.
        rng: what differs between children.
        turn: for each of `CHOICE_TRAITS`, a number in [0, 1) that selects one of its choices; None: drawn at random.
    """
    changes: dict[str, Any] = {}
    leaps, drawn = rng.random((2, len(CHOICE_TRAITS)))
    for name, leap, which in zip(CHOICE_TRAITS, leaps, drawn if turn is None else turn, strict=True):
        if leap < CHOICE_CHANCES[rank]:
            options = _choice(archetype, name)
            changes[name] = options[int(which * len(options))]
    for name, step in zip(NUMBER_TRAITS, rng.standard_normal(len(NUMBER_TRAITS)).tolist(), strict=True):
        low, high = _range(archetype, name)
        changes[name] = _reflect(getattr(parent, name) + DRIFT[rank] * step * (high - low), low, high)
    return replace(parent, **changes)


def _choice(archetype: Archetype, name: str) -> Choice:
    return archetype.choices.get(name) or _DEFAULT_CHOICES[name]


def _range(archetype: Archetype, name: str) -> Range:
    return archetype.ranges.get(name) or _DEFAULT_RANGES[name]


def _reflect(value: float, low: float, high: float) -> float:
    """Reflect `value` at the ends into [low, high], so that values do not accumulate at the ends."""
    span = high - low
    turn = (value - low) % (2 * span)
    return low + min(turn, 2 * span - turn)


def _pick(options: Choice, rng: np.random.Generator) -> str:
    return options[int(rng.random() * len(options))]
