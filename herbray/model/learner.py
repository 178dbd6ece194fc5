"""Encoder and objective in one module, which DDP wraps, the optimizer updates and a checkpoint holds."""

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from herbray.model.objectives.base import Objective
from herbray.model.portable import Encoder


class Learner(nn.Module):
    """An encoder and the objective that trains it. Every step uses every parameter."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        """Combine encoder and objective."""
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            images: Float [n, 3, s, s] in [0, 1].
            labels: Int64 [n].

        Returns:
            See `Objective.forward`.
        """
        out: dict[str, Tensor] = self.objective(self.encoder(images), images, labels)
        return out


def wrap_ddp(learner: nn.Module) -> DistributedDataParallel:
    """Wrap a learner in DDP, for this rank.

    Batch-norm statistics are not copied from rank 0 at every step: a step in training mode does not read them, and code
    that reads them copies them first.
    """
    parameters = inspect.signature(DistributedDataParallel).parameters
    buffers = (
        "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    )  # torch renamed it
    settings: dict[str, Any] = {buffers: False}
    return DistributedDataParallel(learner, gradient_as_bucket_view=True, **settings)
