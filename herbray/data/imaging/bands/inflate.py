"""Deflated rows of pixels, decompressed some rows at a time."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

_STEP: Final = 1 << 20  # bytes handed to zlib at once: it returns a copy of what it has not used


def inflate_pieces(compressed: Iterable[memoryview], total: int, size: int) -> Iterator[bytes]:
    """Decompress a zlib stream, `size` bytes at a time.

    Args:
        compressed: parts of the stream.
        total: bytes to decompress; the rest of the stream is not read.
        size: bytes of a piece; the last one may be shorter.

    Raises:
        OSError: the stream is damaged, or has fewer bytes.
    """
    stream, ready = zlib.decompressobj(), bytearray()
    steps = (part[start : start + _STEP] for part in compressed for start in range(0, len(part), _STEP))
    waiting: bytes | memoryview = b""
    try:
        while total > 0:
            wanted = min(size, total)
            while len(ready) < wanted and not stream.eof and (waiting := waiting or next(steps, b"")):
                ready += stream.decompress(waiting, wanted - len(ready))
                waiting = stream.unconsumed_tail
            if len(ready) < wanted:
                raise OSError("the file is truncated")
            yield bytes(ready)
            total -= wanted
            ready.clear()
    except zlib.error as error:
        raise OSError(f"the pixels are damaged: {error}") from None
