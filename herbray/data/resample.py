"""Lanczos reduction as products of small matrices: the picture that Pillow's filter gives, in a third of its time.

A row of the result is a weighted sum of neighbouring rows of the original, so a strip of rows is a small dense matrix
times a strip of pixels, and BLAS does that at many times the speed of a loop over taps.

The result does not depend on which BLAS does it, on how many threads, or in which order it adds: pixels are whole
numbers below 2⁹, weights are whole multiples of 2⁻¹⁴, so every partial sum has less than 24 bits and is exact in
float32; both passes round to whole levels.
"""

import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

_LOBES: Final = 3  # Lanczos-3, as Pillow's
_BITS: Final = 14  # of a weight: the absolute weights of a pixel sum to less than 1.5 and levels stay below 330
_ROWS: Final = 6  # rows of a strip: more waste work on zeros, fewer make the products too thin
_COLUMNS: Final = 6  # columns of a strip; a column is three channels wide

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Number = TypeVar("Number", np.uint8, np.float32)

_arrays: Final = threading.local()  # by purpose: see `borrow`


class _Strip(NamedTuple):
    """Results `first` … `last` are `weights` times originals `start` … `stop`."""

    first: int
    last: int
    start: int
    stop: int
    weights: Floats


def lanczos(pixels: Pixels, width: int, height: int, extent: tuple[float, float] | None = None) -> Pixels:
    """Resize an image with a Lanczos filter of three lobes, widened when it shrinks so that nothing aliases.

    Args:
        pixels: UInt8 [rows, columns, channels], C-contiguous.
        width: columns of the result.
        height: rows of the result.
        extent: columns and rows that the result covers, from the upper left corner, where the last ones count only in
            part (a decoder that reduces 1,001 rows eightfold gives 126, of which the image covers 125.125); None: all.

    Returns:
        UInt8 [height, width, channels]. The edge repeats nothing: weights that fall outside are shared out within.
    """
    rows, columns, channels = pixels.shape
    across, down = extent or (columns, rows)
    plane = borrow("plane", (rows, columns * channels), np.float32)
    narrow = borrow("narrow", (height, columns * channels), np.float32)
    small = borrow("small", (height, width * channels), np.float32)
    np.copyto(plane, pixels.reshape(plane.shape))
    for first, last, start, stop, weights in _rows(rows, down, height):
        np.matmul(weights, plane[start:stop], out=narrow[first:last])
    np.rint(narrow, out=narrow)
    for first, last, start, stop, weights in _columns(columns, across, width, channels):
        taken = narrow[:, channels * start : channels * stop]
        np.matmul(taken, weights, out=small[:, channels * first : channels * last])
    np.rint(small, out=small)
    np.clip(small, 0, 255, out=small)
    return small.astype(np.uint8).reshape(height, width, channels)


def borrow(purpose: str, shape: tuple[int, ...], kind: type[Number]) -> npt.NDArray[Number]:
    """An array of undefined content that this thread uses over and over for one purpose.

    Fresh arrays of megabytes cost more in page faults than the arithmetic on them. What is borrowed must not be
    returned to a caller, and is overwritten when the same purpose borrows again.
    """
    kept: dict[str, npt.NDArray[Number]] = _arrays.__dict__
    size = math.prod(shape)
    if purpose not in kept or kept[purpose].size < size:
        kept[purpose] = np.empty(size, kind)
    return kept[purpose][:size].reshape(shape)


@lru_cache(maxsize=64)
def _rows(size: int, extent: float, wanted: int) -> Sequence[_Strip]:
    return _strips(size, extent, wanted, _ROWS)


@lru_cache(maxsize=64)
def _columns(size: int, extent: float, wanted: int, channels: int) -> Sequence[_Strip]:
    """Strips whose weights stand on the right of interleaved channels: each weight times the identity."""
    strips = []
    for strip in _strips(size, extent, wanted, _COLUMNS):
        results, originals = strip.weights.shape
        apart = np.zeros((originals, channels, results, channels), np.float32)
        for channel in range(channels):
            apart[:, channel, :, channel] = strip.weights.T
        strips.append(strip._replace(weights=apart.reshape(originals * channels, results * channels)))
    return strips


def _strips(size: int, extent: float, wanted: int, many: int) -> list[_Strip]:
    """All strips of an axis of `size` pixels, of which `extent` become `wanted`."""
    scale = extent / wanted
    reach = _LOBES * max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    firsts = np.arange(0, wanted, many)
    lasts = np.minimum(firsts + many, wanted)
    span = min(size, int(np.ceil((many - 1) * scale + 2 * reach)) + 1)
    starts = np.clip((centres[firsts] - reach).astype(int), 0, size - span)
    places = np.repeat(starts, lasts - firsts)[:, None] + np.arange(span) + 0.5
    weights = _weights((places - centres[:, None]) / max(scale, 1.0))
    return [
        _Strip(int(first), int(last), int(start), int(start) + span, weights[first:last])
        for first, last, start in zip(firsts, lasts, starts, strict=True)
    ]


def _weights(offsets: npt.NDArray[np.float64]) -> Floats:
    """[results, originals] distances in lobes → weights that sum to exactly one along the originals."""
    x = np.where(np.abs(offsets) < 1e-9, 1e-9, offsets)
    square = np.sin(x * (np.pi / 3)) ** 2
    kernel = (3 - 4 * square) * square * 3 / (np.pi * x) ** 2  # sinc(x) · sinc(x/3), for sin 3t = 3 sin t - 4 sin³ t
    kernel[np.abs(x) >= _LOBES] = 0.0
    whole = np.rint(kernel * (2**_BITS / kernel.sum(1, keepdims=True)))
    whole[np.arange(len(whole)), whole.argmax(1)] += 2**_BITS - whole.sum(1)
    weights: Floats = (whole / 2**_BITS).astype(np.float32)
    return weights
