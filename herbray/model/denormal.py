"""Numbers too small for full precision, which a processor takes on a path a hundred times slower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed() -> Iterator[None]:
    """Count denormal numbers as zero within; torch's default, to keep them, holds again after.

    Adam's second moments of weights that no longer move end among them. As a decorator it covers a whole function.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
