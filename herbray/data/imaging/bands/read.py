"""Large images in bands of rows, so that the memory that decoding takes does not grow with the image.

Pillow decodes an image as a whole. A large TIFF or PNG is therefore cut into small files of consecutive rows, each of
which Pillow decodes as it would decode the whole.
"""

from collections.abc import Iterator
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from herbray.data.imaging.bands.png import cut_png
from herbray.data.imaging.bands.tiff import cut_tiff
from herbray.data.imaging.originals import ImageRefused

BAND_PIXELS: Final = 4_000_000
"""Pixels of a band, about."""

MAX_WHOLE_PIXELS: Final = 150_000_000
"""Largest image that is decoded in one piece, which takes up to 9 bytes per pixel."""


def read_bands(data: bytes, opened: Image.Image) -> tuple[tuple[int, int], Iterator[Image.Image]]:
    """Decode an image in bands.

    Args:
        data: the file.
        opened: the image, not yet decoded.

    Returns:
        Width and height as the image is decoded, before `herbray.data.imaging.orientation.turn_upright`; and bands
        from top to bottom, as wide as the image.

    Raises:
        ImageRefused: the image is too large to be decoded in one piece, but cannot be cut.
        OSError: the file is damaged; also while the bands are read.
    """
    if opened.width * opened.height > BAND_PIXELS:
        if isinstance(opened, PngImageFile) and (cut := cut_png(data, opened, BAND_PIXELS)):
            return opened.size, cut
        if isinstance(opened, TiffImageFile) and (cut := cut_tiff(data, opened, BAND_PIXELS)):
            tags = opened.tag_v2  # the size of a TIFF is that of the upright image
            return (tags[256], tags[257]), cut
        if opened.width * opened.height > MAX_WHOLE_PIXELS:
            raise ImageRefused(
                "too-large",
                f"{opened.width:,}×{opened.height:,} px in one piece; at most {MAX_WHOLE_PIXELS // 1_000_000} "
                "megapixels are decoded at once: save it as JPEG, TIFF in strips or tiles, or PNG without interlacing",
            )
    opened.load()  # turns a TIFF upright
    return opened.size, _crop_bands(opened)


def _crop_bands(image: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, BAND_PIXELS // image.width)
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))
