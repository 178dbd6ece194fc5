"""Batches of all ranks as one: what an objective sees whose loss reaches over the batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

_APART: Final = ContextVar("herbray_apart", default=False)


@contextmanager
def apart() -> Iterator[None]:
    """Within it this rank trains alone, and `everyone` is nobody but itself."""
    token = _APART.set(True)
    try:
        yield
    finally:
        _APART.reset(token)


def everyone(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Features and labels of all ranks, rank after rank, with the gradient of one process on the joined batch.

    Every rank then computes the loss of the joined batch. The backward pass adds up what all ranks say of a row, and
    DDP's mean over the ranks divides it again: taking only one's own part would leave 1 / ranks of the gradient.

    Args:
        features: Float [n, d], n alike on all ranks.
        labels: Int64 [n].

    Returns:
        Float [ranks · n, d] and Int64 [ranks · n]; the arguments themselves where there is but one rank.
    """
    together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if not together or _APART.get():
        return features, labels
    joined: Tensor = _Gather.apply(features)
    return joined, _all(labels)


def _all(mine: Tensor) -> Tensor:
    parts = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:  # noqa: ANN401  (autograd's own context)
        ctx.rows = len(features)
        return _all(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.rows
        return total[first : first + ctx.rows]
