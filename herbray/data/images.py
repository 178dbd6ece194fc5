"""Images in and out of the shards: untrusted bytes to one small, checked JPEG, and JPEGs to square pixel arrays."""

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from herbray.data.resample import borrow, lanczos

FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP")
"""Formats that Pillow may try; its other decoders see no untrusted byte."""

MAX_BYTES: Final = 256 * 2**20
"""Largest file that is read: a 600 dpi sheet as TIFF has about 190 MB."""

MAX_ASPECT: Final = 8.0
"""Longest side over shortest: beyond it an image is a strip, not a sheet."""

MIN_SIDE: Final = 16
"""Shortest side in pixels: below it there is no plant to see."""

_SPARE: Final = 1.9
"""Originals are decoded at this multiple of the wanted size or more: so sheets of 8 and 24 megapixels stay within 46 dB
of a full decode; below it the error grows fast."""

_BROKEN: Final = ("Huffman code", "arithmetic code", "end of data segment", "instead of RST")
"""What libjpeg warns of when the compressed pixels are damaged; Pillow would swallow the warning and paint on."""

_ORIENTATION: Final = 0x0112  # EXIF tag, and below what undoes each of its values
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FAULTS: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError),
    *(OverflowError, EOFError, struct.error, MemoryError),
)  # all that Pillow's decoders raise at damaged files

Pixels = npt.NDArray[np.uint8]
Geometry = Literal["crop", "pad"]
"""How a sheet becomes square: the ends of its long side are cut off (when it is used), or paper is added beside it."""


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


def shrink(data: bytes, side: int, quality: int = 90, geometry: Geometry = "crop") -> Picture:
    """Check an image, turn it upright, and make it an RGB JPEG whose short side has `side` pixels, aspect kept.

    Args:
        data: the file as it came.
        side: pixels of the short side afterwards; smaller originals are enlarged.
        quality: JPEG quality of the result.
        geometry: "pad": see `reduced`; the result is square.

    Raises:
        ImageRefused: not an allowed image, truncated, damaged, too small, too large or too long.
    """
    pixels = reduced(data, side, geometry)
    height, width = pixels.shape[:2]
    return Picture(simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420"), width, height)


def reduced(data: bytes, side: int, geometry: Geometry = "crop") -> Pixels:
    """The pixels that `shrink` compresses: checked, upright, UInt8 [height, width, 3] with a short side of `side`.

    With `geometry="pad"` it is the long side that has `side` pixels, and the sheet lies in the middle of a square whose
    rest has the colour of its border: the median of the edges that meet it, each for its side.

    JPEG originals are decoded at a half, a quarter or an eighth of their size where that leaves enough to reduce from
    (Lanczos); what the fast decoder does not take or only warns about, Pillow decodes and judges.

    Raises:
        ImageRefused: as `shrink`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # odd EXIF: the pixels decide
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                _check_shape(*opened.size)
                pad = geometry == "pad"
                fast = _decode(data, opened, side, pad)
                sheet = _by_pillow(data, opened, side, pad) if fast is None else _turned(fast, opened)
                return _padded(sheet, side) if pad else sheet
    except ImageRefused:
        raise
    except UnidentifiedImageError:
        raise ImageRefused("not-an-image", f"the bytes are none of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused("too-large", str(error)) from None
    except _FAULTS as error:
        reason = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise ImageRefused(reason, f"the image cannot be decoded: {error}") from None


def squares(
    jpegs: Sequence[bytes], side: int, offsets: npt.NDArray[np.float64] | None = None, out: Pixels | None = None
) -> Pixels:
    """Decode images of a shard and cut a square of the short side from each.

    Args:
        jpegs: n JPEGs whose short side has `side` pixels, as `shrink` makes them.
        side: pixels.
        offsets: [n] in [0, 1], where along the long side the square lies; None for the centre.
        out: UInt8 [n, side, side, 3], C-contiguous, that takes the result; None for a new one.

    Returns:
        UInt8 [n, side, side, 3], RGB; `out` if it was given.

    Raises:
        ValueError: a JPEG is damaged, or smaller than the square: the shards were made with another image size; or
            `out` is of another shape.
    """
    shape = (len(jpegs), side, side, 3)
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}; {len(jpegs)} squares need C-contiguous uint8 {shape}")
    for row, jpeg in enumerate(jpegs):
        height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
        spare_y, spare_x = height - side, width - side
        if min(spare_y, spare_x) < 0:
            raise ValueError(f"an image of {width}×{height} px in shards of {side} px: make them again")
        fits = spare_y == spare_x == 0
        buffer = out[row] if fits else borrow("square", (height * width * 3,), np.uint8)
        pixels = simplejpeg.decode_jpeg(jpeg, "RGB", fastdct=True, fastupsample=True, buffer=buffer)
        if not fits:
            where = 0.5 if offsets is None else float(offsets[row])
            top, left = round(spare_y * where), round(spare_x * where)
            out[row] = pixels[top : top + side, left : left + side]
    return out


def _check_shape(width: int, height: int) -> None:
    short, long = min(width, height), max(width, height)
    if short < MIN_SIDE:
        raise ImageRefused("too-small", f"{width}×{height} px; the short side needs {MIN_SIDE}")
    if long > MAX_ASPECT * short:
        raise ImageRefused("too-long", f"{width}×{height} px; a sheet is at most {MAX_ASPECT:g} times as long as wide")


def _decode(data: bytes, opened: Image.Image, side: int, pad: bool) -> Pixels | None:
    """A JPEG by the fast decoder, reduced, not yet upright; None where Pillow should decode it.

    Pillow opened it first: its limits on size have held, and both must read the same size from the header.
    """
    if not isinstance(opened, JpegImageFile) or opened.mode not in ("RGB", "L") or not _scalable(data):
        return None
    width, height = opened.size
    wanted = _wanted(width, height, side, pad)
    scale = _scale(min(width, height), min(wanted))
    try:
        if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):
            return None
        rows, columns = -(-height // scale), -(-width // scale)
        space, channels = ("RGB", 3) if opened.mode == "RGB" else ("GRAY", 1)
        buffer = borrow("decoded", (rows * columns * channels,), np.uint8)
        pixels = simplejpeg.decode_jpeg(data, space, min_height=rows, min_width=columns, buffer=buffer)
    except ValueError as error:  # libjpeg's warnings count as errors here
        if any(phrase in str(error) for phrase in _BROKEN):
            raise ImageRefused("damaged", f"the image cannot be decoded: {error}") from None
        return None
    small = lanczos(pixels, *wanted, extent=(width / scale, height / scale))
    return small if small.shape[2] == 3 else np.repeat(small, 3, axis=2)


def _by_pillow(data: bytes, opened: Image.Image, side: int, pad: bool) -> Pixels:
    """Any allowed image, upright and reduced."""
    scale = _scale(min(opened.size), min(_wanted(*opened.size, side, pad)))
    if _scalable(data):
        opened.draft("RGB", (-(-opened.width // scale), -(-opened.height // scale)))
    image = _rgb(ImageOps.exif_transpose(opened))
    width, height = image.size
    wanted = _wanted(width, height, side, pad)
    factor = max(1, int(min(image.size) / (2 * min(wanted))))
    few = np.ascontiguousarray(image.reduce(factor) if factor > 1 else image)
    return lanczos(few, *wanted, extent=(width / factor, height / factor))


def _turned(pixels: Pixels, opened: Image.Image) -> Pixels:
    how = _UPRIGHT.get(opened.getexif().get(_ORIENTATION, 1))
    return pixels if how is None else np.ascontiguousarray(Image.fromarray(pixels).transpose(how))


def _padded(sheet: Pixels, side: int) -> Pixels:
    """The sheet in the middle of a square, what is missing beside it in the colour of the edge that it meets."""
    axis = 1 if sheet.shape[0] == side else 0
    before = (side - sheet.shape[axis]) // 2
    after = side - sheet.shape[axis] - before
    first, last = (np.median(sheet.take(place, axis), axis=0).astype(np.uint8) for place in (0, -1))
    across = [(side, count, 3) if axis else (count, side, 3) for count in (before, after)]
    bands = [np.broadcast_to(colour, shape) for colour, shape in zip((first, last), across, strict=True)]
    return np.ascontiguousarray(np.concatenate([bands[0], sheet, bands[1]], axis))


def _wanted(width: int, height: int, side: int, pad: bool) -> tuple[int, int]:
    """Columns and rows: the short side has `side`, or, to be padded, the long one."""
    if pad:
        scale = side / max(width, height)
        return min(side, max(1, round(width * scale))), min(side, max(1, round(height * scale)))
    scale = side / min(width, height)
    return max(side, round(width * scale)), max(side, round(height * scale))


def _scale(short: int, side: int) -> int:
    """By how much the decoder may reduce: a power of two, for the others are slower than full size."""
    return next((scale for scale in (8, 4, 2) if short >= _SPARE * side * scale), 1)


def _scalable(data: bytes) -> bool:
    """Whether the first frame of a JPEG is of the kinds that libjpeg can scale: baseline, extended or progressive.

    It ignores the scale of a lossless frame and would write the full size into the smaller buffer. A file whose markers
    do not follow upon each other as they should is not trusted either.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        code = data[at + 1]
        if code == 0xFF:  # fill
            at += 1
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):  # those three define tables
            return code <= 0xC2
        elif code <= 0x01 or 0xD0 <= code <= 0xDA:  # a marker without length, or pixels before a frame
            return False
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


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
