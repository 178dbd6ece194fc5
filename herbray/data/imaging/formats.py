"""The formats of images: which may be read, and how large an image of each may be; checked before it is decoded."""

import io
import struct
from typing import Final, NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pydantic import Field

from herbray.config import Spec
from herbray.data.imaging.originals import ImageRefused

_MEGAPIXEL: Final = 1_000_000


class _Format(NamedTuple):
    name: str
    plugin: object  # imported for its entry in Pillow's registry


_FORMATS: Final = {
    "jpeg": _Format("JPEG", JpegImagePlugin),
    "png": _Format("PNG", PngImagePlugin),
    "tiff": _Format("TIFF", TiffImagePlugin),
    "webp": _Format("WEBP", WebPImagePlugin),
    "jpeg2000": _Format("JPEG2000", Jpeg2KImagePlugin),
    "gif": _Format("GIF", GifImagePlugin),
    "bmp": _Format("BMP", BmpImagePlugin),
}
"""Setting → Pillow's name. Its other decoders never see untrusted bytes."""


class Formats(Spec):
    """The largest image that is read of each format, in megapixels; 0 refuses the format.

    A sheet scanned with 600 dpi has 70 to 140 megapixels. JPEG is decoded at reduced scale, TIFF and PNG in bands of
    rows, the others as a whole.
    """

    jpeg: float = Field(200, ge=0, description="JPEG")
    png: float = Field(200, ge=0, description="PNG")
    tiff: float = Field(200, ge=0, description="TIFF")
    webp: float = Field(64, ge=0, description="WebP")
    jpeg2000: float = Field(0, ge=0, description="JPEG 2000; not read by default: its decoder has had many faults")
    gif: float = Field(0, ge=0, description="GIF, the first picture; not read by default")
    bmp: float = Field(0, ge=0, description="BMP; not read by default")


DEFAULT_FORMATS: Final = Formats()


def open_image(data: bytes, formats: Formats) -> Image.Image:
    """Read the header of an image; no pixel is decoded.

    Pillow's own limit of pixels is not used: it is the same for all formats and a global variable.

    Raises:
        ImageRefused: the format is unknown ("not-an-image") or not to be read ("format"), or the header promises more
            pixels than `formats` allows ("too-large").
        OSError: the file ends in its header.
    """
    for key, (name, _) in _FORMATS.items():
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]) is not True:
            continue
        limit = getattr(formats, key)
        if not limit:
            raise ImageRefused(
                "format", f"{name} images are not read: set formats.{key} of the shard job to the megapixels to allow"
            )
        try:
            opened = factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            raise ImageRefused("not-an-image", f"the header of the {name} image is damaged: {error}") from None
        _check_pixels(opened, key, limit)
        return opened
    names = ", ".join(name for key, (name, _) in _FORMATS.items() if getattr(formats, key))
    raise ImageRefused("not-an-image", f"the file is not in a supported format ({names})")


def _check_pixels(opened: Image.Image, key: str, limit: float) -> None:
    width, height = opened.size
    if width * height > limit * _MEGAPIXEL:
        raise ImageRefused(
            "too-large",
            f"{width:,}×{height:,} px are {width * height / _MEGAPIXEL:.4g} megapixels; formats.{key} of the shard "
            f"job allows {limit:g}",
        )
