"""Images in and out of the shards: untrusted bytes to one small, checked JPEG, and JPEGs to square pixel arrays."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP")
"""Formats that Pillow may try; its other decoders see no untrusted byte."""

MAX_BYTES: Final = 256 * 2**20
"""Largest file that is read: a 600 dpi sheet as TIFF has about 190 MB."""

MAX_ASPECT: Final = 8.0
"""Longest side over shortest: beyond it an image is a strip, not a sheet."""

MIN_SIDE: Final = 16
"""Shortest side in pixels: below it there is no plant to see."""


class ImageRefused(ValueError):
    """An image that cannot become a row of a shard.

    Attributes:
        reason: a short stable code for the quarantine table.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the code beside the sentence."""
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """One checked image: JPEG bytes and its size in pixels."""

    jpeg: bytes
    width: int
    height: int


def read_bytes(image: str) -> bytes:
    """Read the file of a specimen.

    Raises:
        ImageRefused: no such file, empty, larger than `MAX_BYTES`, or unreadable.
    """
    path = Path(image)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ImageRefused("missing", "the path is not a file")
        if size > MAX_BYTES:
            raise ImageRefused("too-large", f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageRefused("missing", "no such file") from None
    except OSError as error:
        raise ImageRefused("unreadable", f"the file cannot be read: {error.strerror}") from None
    if not data:
        raise ImageRefused("empty", "the file has zero bytes")
    return data


def shrink(data: bytes, side: int, quality: int = 90) -> Picture:
    """Check an image, turn it upright, and make it an RGB JPEG whose short side has `side` pixels, aspect kept.

    JPEG originals are decoded at reduced scale, never below twice the wanted size.

    Args:
        data: the file as it came.
        side: pixels of the short side afterwards; smaller originals are enlarged.
        quality: JPEG quality of the result.

    Raises:
        ImageRefused: not an allowed image, truncated, damaged, too small, too large or too long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # odd EXIF: the pixels decide
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                pixels = _upright(opened, side)
    except ImageRefused:
        raise
    except UnidentifiedImageError:
        raise ImageRefused("not-an-image", f"the bytes are none of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused("too-large", str(error)) from None
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, EOFError) as error:
        reason = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise ImageRefused(reason, f"the image cannot be decoded: {error}") from None
    height, width = pixels.shape[:2]
    return Picture(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420"), width, height)


def squares(jpegs: Sequence[bytes], side: int, offsets: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.uint8]:
    """Decode images of a shard and cut a square of the short side from each.

    Args:
        jpegs: n JPEGs whose short side has `side` pixels, as `shrink` makes them.
        side: pixels.
        offsets: [n] in [0, 1], where along the long side the square lies; None for the centre.

    Returns:
        UInt8 [n, side, side, 3], RGB.

    Raises:
        ValueError: a JPEG is smaller than the square: the shards were made with another image size.
    """
    out = np.empty((len(jpegs), side, side, 3), np.uint8)
    for row, jpeg in enumerate(jpegs):
        pixels = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", fastdct=True, fastupsample=True)
        spare_y, spare_x = pixels.shape[0] - side, pixels.shape[1] - side
        if min(spare_y, spare_x) < 0:
            raise ValueError(
                f"an image of {pixels.shape[1]}×{pixels.shape[0]} px in shards of {side} px: make them again"
            )
        where = 0.5 if offsets is None else float(offsets[row])
        top, left = round(spare_y * where), round(spare_x * where)
        out[row] = pixels[top : top + side, left : left + side]
    return out


def _upright(opened: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    width, height = opened.size
    short, long = min(width, height), max(width, height)
    if short < MIN_SIDE:
        raise ImageRefused("too-small", f"{width}×{height} px; the short side needs {MIN_SIDE}")
    if long > MAX_ASPECT * short:
        raise ImageRefused("too-long", f"{width}×{height} px; a sheet is at most {MAX_ASPECT:g} times as long as wide")
    opened.draft("RGB", (round(2 * side * width / short), round(2 * side * height / short)))
    image = _rgb(ImageOps.exif_transpose(opened))
    scale = side / min(image.size)
    size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey to white
        grey = np.asarray(image, dtype=np.float64)
        top = max(float(grey.max()), 1.0)
        return Image.fromarray((grey * (255.0 / top)).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:  # a cut-out plant lies on white paper
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")
