"""EXIF orientation: how the stored pixels must be turned to show the image upright."""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

_TAG: Final = 0x0112

_STEPS: Final = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
"""Value of the tag → whether the axes change places, and the steps along the new rows and columns."""


def turn_upright(pixels: npt.NDArray[np.uint8], opened: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a view of the stored pixels, [height, width, channels], that shows the image upright."""
    swap, down, right = _STEPS.get(opened.getexif().get(_TAG, 1), (False, 1, 1))
    return (pixels.swapaxes(0, 1) if swap else pixels)[::down, ::right]
