"""Denormal numbers: floats so small that a processor handles them up to a hundred times more slowly."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside the block; afterwards torch's default, keeping them, applies again.

    Adam's second moments become denormal for weights that no longer change. Also works as a decorator.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
