"""JPEG 2000 headers, read without decoding (ISO/IEC 15444-1)."""

from typing import Final

_START: Final = b"\xff\x4f\xff\x51"  # of the codestream, and of its size
_COD: Final = 0x52
_LEVELS_AT: Final = 9  # in the COD segment, after marker, length, style, progression, layers and transform


def count_levels(data: bytes) -> int:
    """How often the decoder can halve an image: the number of its decompositions; 0 if the header has none."""
    place = data.find(_START) + 2
    if place < 2:
        return 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == _COD:
            return min(data[place + _LEVELS_AT], 32) if place + _LEVELS_AT < len(data) else 0
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0
