"""A list of strokes in sheet units, which is scaled to the paper and painted at once."""

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

Colour = tuple[int, int, int]


def to_colour(tone: npt.NDArray[Any]) -> Colour:
    """Round and clip three numbers to a colour."""
    red, green, blue = (int(part) for part in np.clip(tone, 0, 255))
    return red, green, blue


def tint(tone: Colour, share: float) -> Colour:
    """Make `tone` lighter (share > 0) or darker (share < 0) by a share of the way to white or black."""
    red, green, blue = tone
    goal, step = (255, share) if share > 0 else (0, -share)
    return round(red + step * (goal - red)), round(green + step * (goal - green)), round(blue + step * (goal - blue))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Mix two colours: `share` of the way from `one` to `other`."""
    return to_colour(np.array(one) + share * (np.array(other) - one))


@final
@dataclass
class Strokes:
    """Filled outlines and lines, in drawing order; units are sheet widths, y points up."""

    points: list[npt.NDArray[Any]] = field(default_factory=list)
    styles: list[tuple[Colour, float, Colour | None]] = field(default_factory=list)  # fill, line width, outline

    def fill(self, points: npt.NDArray[Any], colour: Colour, outline: Colour | None = None) -> None:
        """Add a closed, filled outline, (n, 2) with n ≥ 3."""
        self.points.append(points)
        self.styles.append((colour, 0.0, outline))

    def line(self, points: npt.NDArray[Any], colour: Colour, width: float) -> None:
        """Add an open line, (n, 2) with n ≥ 2, `width` sheet widths wide, at least one pixel."""
        self.points.append(points)
        self.styles.append((colour, width, None))

    def ribbon(self, points: npt.NDArray[Any], colour: Colour, start: float, end: float) -> None:
        """Add a line that tapers from width `start` to `end`, such as a stem."""
        along = np.gradient(points, axis=0)
        along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-9)
        half = np.linspace(start, end, len(points))[:, None] / 2
        across = along[:, ::-1] * (-1, 1) * half
        self.fill(np.concatenate([points + across, (points - across)[::-1]]), colour)

    def bounds(self) -> tuple[float, float, float, float]:
        """Return left, bottom, right and top of all strokes."""
        every = np.concatenate(self.points)
        low, high = every.min(axis=0), every.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def paint(self, draw: ImageDraw.ImageDraw, scale: float, x: float, y: float) -> None:
        """Paint all strokes on an image of four bytes per pixel: red, green, blue and cover.

        A point (u, v) is painted at pixel (x + scale · u, y − scale · v).
        """
        every = np.concatenate(self.points) * (scale, -scale) + (x, y)
        flat = every.ravel().tolist()
        start = 0
        for points, (colour, width, outline) in zip(self.points, self.styles, strict=True):
            stop = start + 2 * len(points)
            if width:
                draw.line(flat[start:stop], fill=(*colour, 255), width=max(1, round(width * scale)))
            else:
                edge = (*outline, 255) if outline else None
                draw.polygon(flat[start:stop], fill=(*colour, 255), outline=edge)
            start = stop
