"""Decoding of images that the fast decoder does not read: in bands, each made RGB and reduced at once."""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from herbray.data.imaging.bands.read import read_bands
from herbray.data.imaging.originals import ImageRefused

_BITS, _PHOTOMETRIC, _MAXIMUM = 258, 262, 281  # tags of TIFF
_WHITE_IS_ZERO: Final = 0

Pixels = npt.NDArray[np.uint8]


def decode_reduced(data: bytes, opened: Image.Image, factor: int) -> tuple[Pixels, float, float]:
    """Decode an image, and average squares of `factor` × `factor` pixels.

    Args:
        data: the file.
        opened: the image, not yet decoded.
        factor: of the reduction, at least 1.

    Returns:
        UInt8 [rows, columns, 3], RGB, not turned upright; and the columns and rows that the image covers, which end
        within the last ones if its size is no multiple of the factor.

    Raises:
        ImageRefused: the depth of the pixels is not known, or see `read_bands`.
        OSError: the file is damaged.
    """
    (width, height), bands = read_bands(data, opened)
    white = _find_white(opened)
    parts: list[Pixels] = []
    rows = 0
    rest = np.empty((0, width, 3), np.uint8)
    for band in bands:
        rows += band.height
        pixels = np.asarray(_to_rgb(band, white))
        pixels = np.concatenate([rest, pixels]) if len(rest) else pixels
        whole = len(pixels) // factor * factor
        parts += [_reduce(pixels[:whole], factor)] if whole else []
        rest = pixels[whole:]
    parts += [_reduce(rest, factor)] if len(rest) else []
    if rows != height:
        raise OSError(f"the file is truncated: it has {rows:,} of {height:,} rows")
    return np.concatenate(parts), width / factor, height / factor


def _reduce(pixels: Pixels, factor: int) -> Pixels:
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def _find_white(opened: Image.Image) -> float:
    """The grey level of white in an image of more than 8 bits, as the file declares it; negative if 0 is white.

    Raises:
        ImageRefused: the file does not declare it.
    """
    if opened.mode not in ("I", "F") and not opened.mode.startswith("I;16"):
        return 0.0
    if not isinstance(opened, TiffImageFile):
        return 65535.0
    tags = opened.tag_v2
    maximum, bits = tags.get(_MAXIMUM), tags.get(_BITS, (16,))[0]
    if maximum is None and bits > 16:
        raise ImageRefused(
            "depth", f"pixels of {bits} bits, and the file does not say which is white: save 8 or 16 bits"
        )
    white = float(maximum[0] if isinstance(maximum, tuple) else maximum or (1 << bits) - 1)
    return -white if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else white


def _to_rgb(image: Image.Image, white: float) -> Image.Image:
    """Make an image RGB; transparent areas become white paper."""
    if white:
        grey = np.asarray(image, dtype=np.float32) * (255.0 / abs(white))
        grey = 255.0 - grey if white < 0 else grey
        return Image.fromarray(np.rint(grey).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
