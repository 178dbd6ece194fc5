"""A TIFF, cut into small TIFFs of consecutive strips or rows of tiles (TIFF 6.0, Adobe 1992)."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from herbray.data.imaging.bands.inflate import inflate_pieces

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR, _JPEG_TABLES = 256, 257, 258, 259, 262, 284, 347
_OFFSETS, _SAMPLES, _ROWS, _COUNTS = 273, 277, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_SHORTS: Final = (_BITS, _COMPRESSION, _PHOTOMETRIC, 266, _SAMPLES, _PLANAR, 317, 320, 338, 339, 530)
"""Tags of short numbers that decide how pixels are read. 266: order of bits, 317: predictor, 320: palette, 338: extra
samples, 339: format of samples, 530: subsampling."""

_PLAIN, _JPEG, _DEFLATE = (1,), (7,), (8, 32946)  # kinds of compression
_LZW, _PACKBITS = (5,), (32773,)
_YCBCR: Final = 6

_MAX_STRIP: Final = 4
"""Bands in a compressed strip that is still decoded as a band of its own."""


class _Piece(NamedTuple):
    """Consecutive rows, and the strips or tiles that hold them."""

    rows: int
    parts: Sequence[bytes | memoryview]


def cut_tiff(data: bytes, opened: TiffImageFile, pixels: int) -> Iterator[Image.Image] | None:
    """Cut a TIFF into bands of about `pixels` pixels; None if only Pillow as a whole can decode it.

    A strip that is larger is cut too, unless it is compressed by a method other than deflate. If such strips are much
    larger, as in an image of one strip, nothing would be gained.

    Raises:
        OSError: the file is truncated or damaged, also while the bands are read.
    """
    tags = opened.tag_v2
    compression = tags.get(_COMPRESSION, 1)
    if compression not in (*_PLAIN, *_JPEG, *_DEFLATE, *_LZW, *_PACKBITS) or tags.get(_PLANAR, 1) != 1:
        return None
    if tags.get(_PHOTOMETRIC) == _YCBCR and compression not in _JPEG:
        return None
    tiled = _TILE_OFFSETS in tags
    places, sizes = (tags.get(tag, ()) for tag in ((_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_OFFSETS, _COUNTS)))
    if len(places) != len(sizes):
        return None
    if sum(sizes) > len(data):
        raise OSError("the file is truncated, or its strips overlap")
    parts = [memoryview(data)[place : place + size] for place, size in zip(places, sizes, strict=True)]
    rows = max(1, pixels // tags[_WIDTH])
    pieces = _group_tiles(opened, parts) if tiled else _group_strips(opened, parts, rows)
    return None if pieces is None else (_decode(opened, piece) for piece in pieces)


def _group_tiles(opened: TiffImageFile, tiles: Sequence[memoryview]) -> Iterator[_Piece] | None:
    """One piece for each row of tiles; None if their number is not that of the image."""
    tags = opened.tag_v2
    width, length, height = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH), tags[_LENGTH]
    if not isinstance(width, int) or not isinstance(length, int) or min(width, length) < 1:
        return None
    across = -(-tags[_WIDTH] // width)
    if across * -(-height // length) != len(tiles):
        return None
    return (
        _Piece(min(length, height - top), tiles[row * across : (row + 1) * across])
        for row, top in enumerate(range(0, height, length))
    )


def _group_strips(opened: TiffImageFile, strips: Sequence[memoryview], rows: int) -> Iterator[_Piece] | None:
    """Pieces of about `rows` rows; None if strips are much larger, or their number is not that of the image."""
    tags = opened.tag_v2
    height = tags[_LENGTH]
    each = min(tags.get(_ROWS, height), height)
    if each < 1 or -(-height // each) != len(strips):
        return None
    compression = tags.get(_COMPRESSION, 1)
    if each > rows and compression in (*_PLAIN, *_DEFLATE):
        heights = (min(each, height - top) for top in range(0, height, each))
        return (
            piece
            for strip, tall in zip(strips, heights, strict=True)
            for piece in _cut_strip(strip, tall, rows, _count_row_bytes(opened), compression in _DEFLATE)
        )
    if each > _MAX_STRIP * rows:
        return None
    many = max(1, rows // each)
    return (
        _Piece(min(many * each, height - first * each), strips[first : first + many])
        for first in range(0, len(strips), many)
    )


def _count_row_bytes(opened: TiffImageFile) -> int:
    samples = opened.tag_v2.get(_SAMPLES, 1)
    bits = opened.tag_v2.get(_BITS, (1,))
    total: int = sum(bits) if len(bits) == samples else bits[0] * samples
    width: int = opened.tag_v2[_WIDTH]
    return -(-width * total // 8)


def _cut_strip(strip: memoryview, height: int, rows: int, row_bytes: int, deflated: bool) -> Iterator[_Piece]:
    """Cut a strip that is not compressed, or deflated; a predictor works within each row."""
    size, total = rows * row_bytes, height * row_bytes
    if deflated:
        for content in inflate_pieces([strip], total, size):
            yield _Piece(len(content) // row_bytes, [zlib.compress(content, 0)])
        return
    if len(strip) < total:
        raise OSError(f"the file is truncated: a strip has {len(strip):,} of {total:,} bytes")
    for start in range(0, total, size):
        part = strip[start : min(start + size, total)]
        yield _Piece(len(part) // row_bytes, [part])


def _decode(opened: TiffImageFile, piece: _Piece) -> Image.Image:
    band = Image.OPEN["TIFF"][0](io.BytesIO(_write_tiff(opened, piece)), "")
    band.load()
    return band


def _write_tiff(opened: TiffImageFile, piece: _Piece) -> bytes:
    """A TIFF of the piece in the byte order of the original."""
    tags, order = opened.tag_v2, "<" if opened.tag_v2.prefix == b"II" else ">"
    tiled = _TILE_OFFSETS in tags
    numbers = {_WIDTH: [tags[_WIDTH]], _LENGTH: [piece.rows]}
    if tiled:
        numbers |= {_TILE_WIDTH: [tags[_TILE_WIDTH]], _TILE_LENGTH: [tags[_TILE_LENGTH]]}
    else:
        numbers |= {_ROWS: [min(tags.get(_ROWS, piece.rows), piece.rows) if len(piece.parts) > 1 else piece.rows]}
    values = {tag: _pack(order, "I", found) for tag, found in numbers.items()}
    for tag in _SHORTS:
        if tag in tags:
            found = tags[tag]
            values[tag] = _pack(order, "H", found if isinstance(found, tuple) else (found,))
    if _JPEG_TABLES in tags:
        values[_JPEG_TABLES] = (7, len(tags[_JPEG_TABLES]), tags[_JPEG_TABLES])
    sizes = [len(part) for part in piece.parts]
    values[_TILE_COUNTS if tiled else _COUNTS] = _pack(order, "I", sizes)
    values[_TILE_OFFSETS if tiled else _OFFSETS] = _pack(order, "I", sizes)  # replaced when the length is known
    first = 8 + 2 + 12 * len(values) + 4 + sum(len(content) for _, _, content in values.values() if len(content) > 4)
    starts = [first + sum(sizes[:number]) for number in range(len(sizes))]
    values[_TILE_OFFSETS if tiled else _OFFSETS] = _pack(order, "I", starts)
    return b"".join([_write_directory(order, values), *piece.parts])


_Value = tuple[int, int, bytes]  # type, count and content of a tag


def _pack(order: str, kind: str, numbers: Sequence[int]) -> _Value:
    return {"H": 3, "I": 4}[kind], len(numbers), struct.pack(f"{order}{len(numbers)}{kind}", *numbers)


def _write_directory(order: str, values: dict[int, _Value]) -> bytes:
    """The header and the directory of a TIFF."""
    entries, further = b"", b""
    start = 8 + 2 + 12 * len(values) + 4
    for tag, (kind, count, content) in sorted(values.items()):
        inline = len(content) <= 4
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        entries += content.ljust(4, b"\0") if inline else struct.pack(f"{order}I", start + len(further))
        further += b"" if inline else content
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(values)) + entries + struct.pack(f"{order}I", 0) + further
