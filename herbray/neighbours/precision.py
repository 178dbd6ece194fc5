"""Products in full precision, whatever the caller or the environment has enabled."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def use_full_precision(device: torch.device) -> Iterator[None]:
    """Disable TF32 and half precision inside the block."""
    products = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in products]
    try:
        for each in products:
            each.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for each, precision in zip(products, before, strict=True):
            each.fp32_precision = precision
