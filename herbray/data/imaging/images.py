"""Images in and out of shards: convert untrusted bytes to a small, checked JPEG, and JPEGs to square pixel arrays."""

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from herbray.data.imaging.boxes import Box, paint_boxes
from herbray.data.imaging.formats import DEFAULT_FORMATS, Formats, open_image
from herbray.data.imaging.jpeg2000_header import count_levels
from herbray.data.imaging.jpeg_header import is_scalable
from herbray.data.imaging.orientation import turn_upright
from herbray.data.imaging.originals import ImageRefused
from herbray.data.imaging.perceptual_hash import compute_perceptual_hash
from herbray.data.imaging.reduction import decode_reduced
from herbray.data.imaging.resample import borrow_buffer, resize_lanczos

MAX_ASPECT: Final = 8.0
"""Largest ratio of long to short side; a longer image is a strip, not a sheet."""

MIN_SIDE: Final = 16
"""Smallest short side in pixels; in a smaller image no plant is recognisable."""

_DECODE_MARGIN: Final = 1.9
"""Originals are decoded at this multiple of the target size or more. Sheets of 8 and 24 megapixels then stay within
46 dB of a full decode; at smaller multiples the error grows fast."""

_DAMAGE_WARNINGS: Final = ("Huffman code", "arithmetic code", "end of data segment", "instead of RST")
"""Phrases in libjpeg's warnings about damaged pixel data; Pillow would ignore such a warning and return the image."""

_DECODER_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError),
    *(OverflowError, EOFError, struct.error, MemoryError),
)  # all errors that Pillow's decoders raise for damaged files

Pixels = npt.NDArray[np.uint8]
Geometry = Literal["crop", "pad"]
"""How a sheet becomes square: its long side is cropped (when it is used), or its short side is padded with paper."""


@dataclass(frozen=True)
class JpegImage:
    """A checked image: JPEG bytes, size in pixels, and its perceptual hash (`herbray.data.imaging.perceptual_hash`)."""

    jpeg: bytes
    width: int
    height: int
    perceptual_hash: bytes


def shrink_to_jpeg(
    data: bytes,
    side: int,
    quality: int = 90,
    geometry: Geometry = "crop",
    *,
    boxes: Sequence[Box] = (),
    formats: Formats = DEFAULT_FORMATS,
) -> JpegImage:
    """Check an image, turn it upright, and encode it as an RGB JPEG whose short side has `side` pixels.

    The aspect ratio is kept.

    Args:
        data: content of the original file.
        side: pixels of the short side of the result; smaller originals are enlarged.
        quality: JPEG quality of the result.
        geometry: "pad" makes the result square, see `shrink_to_pixels`.
        boxes: parts of the upright image to paint over, see `paint_boxes`.
        formats: the formats that are read, and their largest images.

    Raises:
        ImageRefused: the image has an unsupported format, or is truncated, damaged, too small, too large or too long.
    """
    pixels = shrink_to_pixels(data, side, geometry, boxes, formats)
    height, width = pixels.shape[:2]
    jpeg = simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")
    return JpegImage(jpeg, width, height, compute_perceptual_hash(pixels))


def shrink_to_pixels(
    data: bytes,
    side: int,
    geometry: Geometry = "crop",
    boxes: Sequence[Box] = (),
    formats: Formats = DEFAULT_FORMATS,
) -> Pixels:
    """Compute the pixels that `shrink_to_jpeg` encodes, UInt8 [height, width, 3]: checked, upright and reduced.

    With `geometry="pad"` the long side has `side` pixels, and the sheet is centred in a square. Each band beside it has
    the median colour of the adjacent edge.

    The boxes are painted over before the image is reduced, so that their content does not blur into their surroundings.

    JPEG originals are decoded at a half, a quarter or an eighth of their size if enough pixels remain for the Lanczos
    reduction, and so are JPEG 2000 originals that allow it. Pillow decodes the files that the fast decoder does not
    support or warns about; large PNG and TIFF originals in bands (`herbray.data.imaging.bands`).

    Raises:
        ImageRefused: see `shrink_to_jpeg`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `formats` has limits of its own
            warnings.filterwarnings(
                "ignore", category=UserWarning, module="PIL"
            )  # ignore malformed EXIF: only the pixels matter
            with open_image(data, formats) as opened:
                _check_shape(*opened.size)
                pad = geometry == "pad"
                reduced = _decode_fast(data, opened, side, pad, boxes)
                if reduced is None:
                    reduced = _decode_with_pillow(data, opened, side, pad, boxes)
                sheet = np.ascontiguousarray(turn_upright(reduced, opened))
                return _pad_to_square(sheet, side) if pad else sheet
    except ImageRefused:
        raise
    except Image.DecompressionBombError as error:  # of a tile or a frame that the header does not announce
        raise ImageRefused("too-large", str(error)) from None
    except _DECODER_ERRORS as error:
        reason = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise ImageRefused(reason, f"the image cannot be decoded: {error}") from None


def decode_squares(
    jpegs: Sequence[bytes], side: int, offsets: npt.NDArray[np.float64] | None = None, out: Pixels | None = None
) -> Pixels:
    """Decode images of a shard and crop a square, as large as the short side, from each.

    Args:
        jpegs: n JPEGs whose short side has `side` pixels, as `shrink_to_jpeg` makes them.
        side: pixels.
        offsets: [n] in [0, 1], position of the square along the long side; None for the centre.
        out: UInt8 [n, side, side, 3], C-contiguous, to receive the result; None for a new array.

    Returns:
        UInt8 [n, side, side, 3], RGB; `out` if given.

    Raises:
        ValueError: a JPEG is damaged; or smaller than the square, because the shards were made with another image size;
            or `out` has another shape.
    """
    shape = (len(jpegs), side, side, 3)
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(
            f"out is {out.dtype} {out.shape}; {len(jpegs)} squares need a C-contiguous uint8 array of shape {shape}"
        )
    for row, jpeg in enumerate(jpegs):
        height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
        margin_y, margin_x = height - side, width - side
        if min(margin_y, margin_x) < 0:
            raise ValueError(
                f"the shards contain an image of {width}×{height} px, but side={side}: run `herbray shard` again"
            )
        fits = margin_y == margin_x == 0
        buffer = out[row] if fits else borrow_buffer("square", (height * width * 3,), np.uint8)
        pixels = simplejpeg.decode_jpeg(jpeg, "RGB", fastdct=True, fastupsample=True, buffer=buffer)
        if not fits:
            offset = 0.5 if offsets is None else float(offsets[row])
            top, left = round(margin_y * offset), round(margin_x * offset)
            out[row] = pixels[top : top + side, left : left + side]
    return out


def _check_shape(width: int, height: int) -> None:
    short, long = min(width, height), max(width, height)
    if short < MIN_SIDE:
        raise ImageRefused("too-small", f"{width}×{height} px; the short side must have at least {MIN_SIDE}")
    if long > MAX_ASPECT * short:
        raise ImageRefused("too-long", f"{width}×{height} px; a sheet is at most {MAX_ASPECT:g} times as long as wide")


def _decode_fast(data: bytes, opened: Image.Image, side: int, pad: bool, boxes: Sequence[Box]) -> Pixels | None:
    """Decode and reduce a JPEG with the fast decoder, without turning it upright; None if Pillow must decode it.

    Pillow opened the file first and checked its size; both decoders must read the same size from the header.
    """
    if not isinstance(opened, JpegImageFile) or opened.mode not in ("RGB", "L") or not is_scalable(data):
        return None
    width, height = opened.size
    wanted = _target_size(width, height, side, pad)
    scale = _decoder_scale(min(width, height), min(wanted))
    try:
        if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):
            return None
        rows, columns = -(-height // scale), -(-width // scale)
        space, channels = ("RGB", 3) if opened.mode == "RGB" else ("GRAY", 1)
        buffer = borrow_buffer("decoded", (rows * columns * channels,), np.uint8)
        pixels = simplejpeg.decode_jpeg(data, space, min_height=rows, min_width=columns, buffer=buffer)
    except ValueError as error:  # simplejpeg raises libjpeg's warnings as errors
        if any(phrase in str(error) for phrase in _DAMAGE_WARNINGS):
            raise ImageRefused("damaged", f"the image cannot be decoded: {error}") from None
        return None
    if boxes:
        paint_boxes(turn_upright(pixels, opened), boxes)
    small = resize_lanczos(pixels, *wanted, extent=(width / scale, height / scale))
    return small if small.shape[2] == 3 else np.repeat(small, 3, axis=2)


def _decode_with_pillow(data: bytes, opened: Image.Image, side: int, pad: bool, boxes: Sequence[Box]) -> Pixels:
    """Decode and reduce any supported image, without turning it upright."""
    side_wanted = min(_target_size(*opened.size, side, pad))
    scale = _decoder_scale(min(opened.size), side_wanted)
    short = min(opened.size)
    if is_scalable(data):
        opened.draft("RGB", (-(-opened.width // scale), -(-opened.height // scale)))
        short = min(opened.size)
    elif isinstance(opened, Jpeg2KImageFile):
        halvings = min(scale.bit_length() - 1, count_levels(data))
        opened.reduce = halvings
        short >>= halvings
    reduced, width, height = decode_reduced(data, opened, max(1, short // (2 * side_wanted)))
    if boxes:
        reduced = reduced.copy()  # Pillow's pixels are read-only
        paint_boxes(turn_upright(reduced, opened), boxes)
    wanted = _target_size(width, height, side, pad)
    return resize_lanczos(reduced, *wanted, extent=(width, height))


def _pad_to_square(sheet: Pixels, side: int) -> Pixels:
    """Centre the sheet in a square; the bands beside it have the colour of the adjacent edge."""
    axis = 1 if sheet.shape[0] == side else 0
    before = (side - sheet.shape[axis]) // 2
    after = side - sheet.shape[axis] - before
    first, last = (np.median(sheet.take(place, axis), axis=0).astype(np.uint8) for place in (0, -1))
    across = [(side, count, 3) if axis else (count, side, 3) for count in (before, after)]
    bands = [np.broadcast_to(colour, shape) for colour, shape in zip((first, last), across, strict=True)]
    return np.ascontiguousarray(np.concatenate([bands[0], sheet, bands[1]], axis))


def _target_size(width: float, height: float, side: int, pad: bool) -> tuple[int, int]:
    """Compute the target width and height: `side` is the short side or, for padding, the long side."""
    if pad:
        scale = side / max(width, height)
        return min(side, max(1, round(width * scale))), min(side, max(1, round(height * scale)))
    scale = side / min(width, height)
    return max(side, round(width * scale)), max(side, round(height * scale))


def _decoder_scale(short: int, side: int) -> int:
    """Choose the decoder's reduction: a power of two, since other factors are slower than full size."""
    return next((scale for scale in (8, 4, 2) if short >= _DECODE_MARGIN * side * scale), 1)
