"""A PNG, cut into small PNGs of consecutive rows (https://www.w3.org/TR/png-3/)."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from PIL import Image

from herbray.data.imaging.bands.inflate import inflate_pieces

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_KEPT: Final = (b"PLTE", b"tRNS")  # what else decides about pixels
_MAX_SMALL: Final = 1 << 20  # bytes of a chunk that is kept

_Chunk = tuple[bytes, memoryview]  # type and content


def cut_png(data: bytes, opened: Image.Image, pixels: int) -> Iterator[Image.Image] | None:
    """Cut a PNG into bands of about `pixels` pixels; None if its rows are not stored one after the other.

    An orientation that follows the pixels is added to the information about the image, which is not decoded.

    Raises:
        OSError: the file is truncated or damaged, also while the bands are read.
    """
    chunks = list(_list_chunks(memoryview(data)))
    head = bytes(_find(chunks, b"IHDR"))
    if len(head) != 13:
        return None
    width, _, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    if interlaced or colour not in _CHANNELS or not (depth == 8 or (depth, colour) == (16, 0)):
        return None
    opened.info.setdefault("exif", bytes(_find(chunks, b"eXIf")))  # Pillow would decode all pixels to look for it
    return _decode_bands(chunks, head, max(1, pixels // width))


def _list_chunks(data: memoryview) -> Iterator[_Chunk]:
    place, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        size, kind = int.from_bytes(data[place : place + 4], "big"), bytes(data[place + 4 : place + 8])
        content = data[place + 8 : place + 8 + size]
        if len(kind) < 4 or len(content) < size:
            raise OSError("the file is truncated")
        yield kind, content
        place += 12 + size


def _find(chunks: Sequence[_Chunk], wanted: bytes) -> memoryview:
    found = (content for kind, content in chunks if kind == wanted and len(content) <= _MAX_SMALL)
    return next(found, memoryview(b""))


def _decode_bands(chunks: Sequence[_Chunk], head: bytes, rows: int) -> Iterator[Image.Image]:
    """Decode `rows` rows at a time. A row is stored as the difference to the row above, so each band repeats that."""
    width, height, depth, colour = struct.unpack_from(">IIBB", head)
    stride = 1 + width * _CHANNELS[colour] * depth // 8
    extra = b"".join(_make_chunk(kind, _find(chunks, kind)) for kind in _KEPT if _find(chunks, kind))
    stored = inflate_pieces((part for kind, part in chunks if kind == b"IDAT"), stride * height, stride * rows)
    above = b""
    for content in stored:
        lines = (len(above) + len(content)) // stride
        small = (
            _make_chunk(b"IHDR", struct.pack(">II", width, lines) + head[8:]),
            extra,
            _make_chunk(b"IDAT", zlib.compress(above + content, 0)),
            _make_chunk(b"IEND", b""),
        )
        band = Image.OPEN["PNG"][0](io.BytesIO(_SIGNATURE + b"".join(small)), "")
        band.load()
        last = band.crop((0, lines - 1, width, lines)).tobytes()
        yield band.crop((0, 1, width, lines)) if above else band
        above = b"\0" + (np.frombuffer(last, "<u2").astype(">u2").tobytes() if depth == 16 else last)


def _make_chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
