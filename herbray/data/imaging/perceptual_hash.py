"""The perceptual hash of an image: 256 bits, of which nearly all are equal if two images show the same picture."""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

HASH_BYTES: Final = 32

NEAR_BITS: Final = 20
"""Images whose hashes differ in at most this many bits are near duplicates.

A copy that was compressed again, enlarged, reduced or made brighter differs in 20 bits or fewer; two sheets of one
herbarium differ in 60 or more. The measurements are in docs/log.md.
"""

_WAVES: Final = 16
_GREEN: Final = 1  # has most of the brightness, and is read in a quarter of the time of a weighted sum
_PIXELS: Final = 128  # of the short side that are enough


def compute_perceptual_hash(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Compute the signs of the 16 × 16 lowest coefficients of the cosine transform that vary in both directions.

    The signs depend neither on brightness nor on contrast nor on the size of the image. Turned or mirrored images have
    other hashes. After the perceptual hash of Zauner 2010 (Implementation and benchmarking of perceptual image hash
    functions, FH Hagenberg).

    Args:
        pixels: UInt8 [rows, columns, 3].

    Returns:
        `HASH_BYTES` bytes.
    """
    step = max(1, min(pixels.shape[:2]) // _PIXELS)
    grey = pixels[::step, ::step, _GREEN].astype(np.float32)
    rows, columns = grey.shape
    signs = _make_waves(rows) @ grey @ _make_waves(columns).T > 0
    return np.packbits(signs).tobytes()


@lru_cache(maxsize=256)
def _make_waves(size: int) -> npt.NDArray[np.float32]:
    """Cosines of 1 to 16 half waves over `size` pixels, [16, size]."""
    places = (np.arange(size) + 0.5) * (np.pi / size)
    return np.cos(np.arange(1, _WAVES + 1)[:, None] * places).astype(np.float32)
