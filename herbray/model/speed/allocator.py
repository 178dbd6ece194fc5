"""The memory allocator of a training process on a CPU."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
"""Parameters of glibc's `mallopt`."""


def reuse_memory() -> bool:
    """Make the C library keep freed memory for the next allocation, in this process, for good.

    By default, glibc gets each large block from the kernel and returns it when a tensor is freed. The kernel clears
    every page again in every step, which costs up to a quarter of the time of a training step on a CPU.

    Returns:
        Whether the C library has this setting; on other systems nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
