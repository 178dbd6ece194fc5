"""Boxes: the parts of a sheet that do not show the plant, such as labels, rulers and colour charts.

The catalogue's column `mask_boxes` has them as text: four numbers per box, "left top right bottom", with ";" between
boxes. The numbers are shares of the width and the height of the upright image, as a viewer shows it, from 0 to 1:
"0.6 0.85 1 1; 0 0 1 0.05". The word "none" says that the sheet has no such part.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

NO_BOXES: Final = "none"
"""The text for a sheet on which there is nothing to paint over."""

_FRAME: Final = 0.02  # width of the frame that gives a box its colour, as a share of the image's short side

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in [0, 1]."""

Pixels = npt.NDArray[np.uint8]


class BoxesRefused(ValueError):
    """The boxes of a sheet cannot be used; the message says why."""


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Parse the boxes of a sheet.

    Raises:
        BoxesRefused: a box does not consist of four numbers in [0, 1] with left < right and top < bottom, or covers the
            whole sheet.
    """
    if text.strip() == NO_BOXES:
        return ()
    return tuple(_parse_box(part.strip()) for part in text.split(";"))


def _parse_box(text: str) -> Box:
    try:
        left, top, right, bottom = map(float, text.split())
    except ValueError:
        raise BoxesRefused(
            f"{text!r} is not a box: write four numbers, left top right bottom, with ; between boxes, or {NO_BOXES}"
        ) from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):  # also refuses NaN
        raise BoxesRefused(
            f"{text!r} is not a box: left < right and top < bottom must be shares of width and height, from 0 to 1"
        )
    if (left, top, right, bottom) == (0, 0, 1, 1):
        raise BoxesRefused(f"{text!r} covers the whole sheet")
    return left, top, right, bottom


def format_boxes(boxes: Sequence[Box]) -> str:
    """The text of some boxes, for the column `mask_boxes`, with four decimals."""
    return "; ".join(" ".join(f"{edge:.4f}" for edge in box) for box in boxes) or NO_BOXES


def paint_boxes(pixels: Pixels, boxes: Sequence[Box]) -> None:
    """Paint each box, in place, with the median colour of a frame around it, which is the paper or the scanner's bed.

    A pixel that a box touches is painted.

    Args:
        pixels: UInt8 [height, width, channels], upright.
        boxes: parts to paint over.
    """
    height, width = pixels.shape[:2]
    frame = max(1, round(_FRAME * min(height, width)))
    for left, top, right, bottom in boxes:
        x, end_x = math.floor(left * width), math.ceil(right * width)
        y, end_y = math.floor(top * height), math.ceil(bottom * height)
        around = pixels[max(0, y - frame) : end_y + frame, max(0, x - frame) : end_x + frame]
        outside = np.ones(around.shape[:2], bool)
        first_y, first_x = min(y, frame), min(x, frame)
        outside[first_y : first_y + end_y - y, first_x : first_x + end_x - x] = False
        colours = around[outside] if outside.any() else around.reshape(-1, pixels.shape[2])
        pixels[y:end_y, x:end_x] = np.median(colours, axis=0).astype(np.uint8)
