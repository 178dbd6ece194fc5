"""Make an encoded image the square of pixels that an encoder expects. Only Pillow's JPEG and PNG decoders are used."""

import io
import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS: Final = ("JPEG", "PNG")
"""Formats that Pillow may decode; its other decoders never see untrusted bytes."""

GEOMETRIES: Final = ("crop", "pad")
"""How an image is made square: crop its long side, or add bands of the paper's colour to its short side."""


def decode_square(data: bytes, size: int, geometry: str = "crop") -> npt.NDArray[np.uint8]:
    """Decode an image, turn it upright, scale its short side to `size` pixels (antialiased) and crop the centre.

    With `geometry="pad"` the long side is scaled to `size`, and bands in the median colour of the adjacent edge make
    the image square.

    Returns:
        UInt8 [size, size, 3], RGB.

    Raises:
        ValueError: the image is neither JPEG nor PNG, is damaged, or has so many pixels that it may be an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings(
                "ignore", category=UserWarning, module="PIL"
            )  # ignore malformed EXIF: only the pixels matter
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                return _pad_to_square(opened, size) if geometry == "pad" else _crop_to_square(opened, size)
    except UnidentifiedImageError:
        raise ValueError(f"the data is neither {' nor '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the image is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, EOFError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from None


def decode_squares(images: Sequence[bytes], size: int, geometry: str = "crop", start: int = 0) -> npt.NDArray[np.uint8]:
    """Decode images as `decode_square` does: UInt8 [n, size, size, 3].

    Raises:
        ValueError: an image cannot be decoded; the message gives its index, counted from `start`.
    """
    out = np.empty((len(images), size, size, 3), np.uint8)
    for row, data in enumerate(images):
        try:
            out[row] = decode_square(data, size, geometry)
        except ValueError as error:
            raise ValueError(f"image {start + row}: {error}") from None
    return out


def _crop_to_square(opened: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    opened.draft("RGB", (2 * size, 2 * size))  # decodes a JPEG at reduced scale, at least twice the target size
    image = _to_rgb(ImageOps.exif_transpose(opened))
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _pad_to_square(opened: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    long, short = max(opened.size), min(opened.size)
    least = 2 * max(1, round(size * short / long))
    opened.draft("RGB", (least, least))
    image = _to_rgb(ImageOps.exif_transpose(opened))
    width, height = (min(size, max(1, round(side * size / max(image.size)))) for side in image.size)
    sheet = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0))
    axis = 1 if height == size else 0
    before = (size - sheet.shape[axis]) // 2
    parts = [sheet]
    for place, count in ((0, before), (-1, size - sheet.shape[axis] - before)):
        colour = np.median(sheet.take(place, axis), axis=0).astype(np.uint8)
        band = np.broadcast_to(colour, (size, count, 3) if axis else (count, size, 3))
        parts = [*parts, band] if place else [band, *parts]
    return np.concatenate(parts, axis)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey to white
        grey = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:  # transparent areas become white paper
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
