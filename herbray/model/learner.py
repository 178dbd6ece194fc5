"""Encoder and objective in one module: what DDP wraps, what the optimizer sees, what a checkpoint holds."""

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from herbray.model.objectives.base import Objective
from herbray.model.portable import Encoder


class Learner(nn.Module):
    """An encoder and the objective that trains it. Every parameter takes part in every step."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        """Join the two."""
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            images: Float [n, 3, s, s] in [0, 1].
            labels: Int64 [n].

        Returns:
            See `Objective.forward`.
        """
        out: dict[str, Tensor] = self.objective(self.encoder(images), images, labels)
        return out


def parallel(learner: nn.Module) -> DistributedDataParallel:
    """One rank's part of a learner on many.

    Batch-norm statistics are not copied from rank 0 at every step: a step in training mode does not read them, and who
    reads them copies them first.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch renamed it
    settings: dict[str, Any] = {buffers: False}
    return DistributedDataParallel(learner, gradient_as_bucket_view=True, **settings)
