"""What came in place of an image: only what a shard can read is kept, whatever the server calls it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from herbray import storage
from herbray.data.imaging.formats import DEFAULT_FORMATS, open_image
from herbray.data.imaging.images import MIN_SIDE, shrink_to_pixels
from herbray.data.imaging.originals import ImageRefused
from herbray.data.web.failure import NotFetched

_SUFFIXES: Final = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}
_SNIFFED: Final = 1024  # bytes in which a web page shows itself


@dataclass(frozen=True)
class Content:
    """A checked image: name of its file, format and size in pixels."""

    file: str
    format: str
    width: int
    height: int


def is_page(data: bytes) -> bool:
    """Whether data are a web page: a login, a captcha, an apology."""
    start = data[:_SNIFFED].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith(b"<!doctype html") or (start.startswith(b"<") and b"<html" in start)


def check_content(data: bytes) -> Content:
    """Check an image as a shard does: its pixels are decoded, though at a small scale.

    Raises:
        NotFetched: it has no bytes, is no image, or is cut off, damaged, too small, too large or too long.
    """
    if not data:
        raise NotFetched("empty", "the server sends zero bytes")
    try:
        shrink_to_pixels(data, MIN_SIDE)
    except ImageRefused as error:
        raise NotFetched(error.reason, str(error), passing=error.reason == "truncated") from None
    with open_image(data, DEFAULT_FORMATS) as opened:
        name, (width, height) = str(opened.format), opened.size
    digest = hashlib.sha256(data).hexdigest()[:32]
    return Content(f"files/{digest[:2]}/{digest}{_SUFFIXES[name]}", name, width, height)


def write_content(out: Path, content: Content, data: bytes) -> None:
    """Write a checked image; the name of its file follows from its content.

    Raises:
        OSError: the disk is full, or the store does not answer.
    """
    path = out / content.file
    if storage.is_remote(path):
        storage.write_object(path, data)
        return
    with storage.replace_file(path, durable=False) as temporary:  # a file that a power cut truncates is fetched again
        temporary.write_bytes(data)
