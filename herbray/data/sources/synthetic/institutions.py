"""The herbaria: paper, scanner, ruler, colour chart, stamp and light."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from herbray.data.sources.synthetic.drawing.strokes import Colour, to_colour
from herbray.data.sources.synthetic.names import HERBARIA


@dataclass(frozen=True)
class Herbarium:
    """How one institution mounts and photographs its sheets. Lengths are shares of the image's width."""

    code: str
    title: str
    ratio: float  # height ÷ width of the image
    paper: Colour
    bed: Colour  # colour of the scanner around the paper
    margins: tuple[float, float, float, float]  # of bed: left, top, right, bottom
    ruler: str  # top · left · right · bottom: on the bed or at that edge of the paper
    ruler_dark: bool
    chart: str  # none · strip · patches
    stamp: str  # none · round · diamond · oval
    ink: Colour
    label: Colour  # paper of the label
    envelope: float  # chance of a fragment envelope
    light: tuple[float, float, float]  # gain of red, green, blue
    falloff: float  # darkening towards the corners

    def height(self, width: int) -> int:
        """Return the height in pixels of a sheet of `width` pixels; even, as 4:2:0 JPEG prefers."""
        return 2 * round(width * self.ratio / 2)


_FIXED_STYLES: Final = (
    Herbarium("", "", 1.5, (240, 238, 230), (14, 14, 16), (0.02, 0.075, 0.02, 0.03), "top", True, "none", "diamond",
              (70, 72, 96), (250, 249, 244), 0.3, (1.0, 1.0, 1.0), 0.03),
    Herbarium("", "", 1.46, (226, 212, 178), (226, 212, 178), (0, 0, 0, 0), "left", False, "none", "none",
              (96, 60, 60), (236, 226, 196), 0.1, (1.01, 0.99, 0.95), 0.1),
    Herbarium("", "", 1.52, (233, 229, 226), (250, 250, 250), (0, 0, 0, 0.075), "bottom", False, "strip", "oval",
              (128, 60, 84), (246, 242, 232), 0.2, (0.97, 0.985, 1.03), 0.04),
    Herbarium("", "", 1.42, (236, 234, 216), (30, 28, 30), (0.045, 0.07, 0.06, 0.03), "top", True, "patches", "round",
              (58, 92, 84), (244, 244, 226), 0.55, (0.99, 1.0, 0.97), 0.06),
)  # fmt: skip


@lru_cache(maxsize=256)
def make_herbarium(index: int, seed: int) -> Herbarium:
    """Make institution `index` (0 is the home herbarium); the first four have fixed styles, the rest random ones."""
    code, title = HERBARIA[index] if index < len(HERBARIA) else (f"SYN{index:03d}", f"Synthetic Herbarium {index}")
    style = (
        _FIXED_STYLES[index] if index < len(_FIXED_STYLES) else _draw_style(np.random.default_rng([seed, 21, index]))
    )
    return Herbarium(**{**style.__dict__, "code": code, "title": title})


def _draw_style(rng: np.random.Generator) -> Herbarium:
    lightness, yellowness = rng.normal(0, 1, 2)
    paper = np.array([233, 226, 206]) + 5 * lightness - yellowness * np.array([0, 3, 14])
    bedded = rng.random() < 0.5
    ruler = ("top", "left", "right", "bottom")[int(rng.random() * 4)]
    edges = [0.07 if edge == ruler else 0.025 for edge in ("left", "top", "right", "bottom")]
    dark = int(18 + 40 * rng.random())
    tint = to_colour(paper)
    return Herbarium(
        code="",
        title="",
        ratio=float(1.4 + 0.13 * rng.random()),
        paper=tint,
        bed=(dark, dark, dark) if bedded else tint,
        margins=(edges[0], edges[1], edges[2], edges[3]) if bedded else (0, 0, 0, 0),
        ruler=ruler,
        ruler_dark=bool(rng.random() < 0.5),
        chart=("none", "strip", "patches")[int(rng.random() * 3)],
        stamp=("none", "round", "diamond", "oval")[int(rng.random() * 4)],
        ink=to_colour(rng.uniform(40, 130, 3)),
        label=to_colour(paper + 14),
        envelope=float(0.6 * rng.random()),
        light=(float(rng.normal(1, 0.02)), float(rng.normal(1, 0.01)), float(rng.normal(0.98, 0.03))),
        falloff=float(0.12 * rng.random()),
    )
