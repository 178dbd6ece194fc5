"""Join the batches of all ranks, for objectives whose loss compares rows across the whole batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

_IS_ALONE: Final = ContextVar("herbray_is_alone", default=False)


@contextmanager
def train_alone() -> Iterator[None]:
    """Inside the block this rank trains alone: `gather_batch` returns only this rank's own rows."""
    token = _IS_ALONE.set(True)
    try:
        yield
    finally:
        _IS_ALONE.reset(token)


def gather_batch(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Join features and labels of all ranks, in the order of ranks; gradients equal those of one process.

    Every rank then computes the loss of the joined batch. The backward pass sums the gradients of a row from all ranks,
    and DDP's mean over ranks divides the sum again. Keeping only the rank's own gradient would leave 1 / ranks of it.

    Args:
        features: Float [n, d], n equal on all ranks.
        labels: Int64 [n].

    Returns:
        Float [ranks · n, d] and Int64 [ranks · n]; the arguments themselves if there is a single rank.
    """
    is_distributed = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if not is_distributed or _IS_ALONE.get():
        return features, labels
    joined: Tensor = _AllGather.apply(features)
    return joined, _all_gather(labels)


def _all_gather(own: Tensor) -> Tensor:
    parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own.contiguous())
    return torch.cat(parts)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:  # noqa: ANN401  (autograd's own context)
        ctx.rows = len(features)
        return _all_gather(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.rows
        return total[first : first + ctx.rows]
