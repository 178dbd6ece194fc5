"""Encoder and objective in one module, which DDP wraps, the optimizer updates and a checkpoint holds."""

import copy
import inspect
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from herbray.model.objectives.base import Objective
from herbray.model.portable import Encoder


class Learner(nn.Module):
    """An encoder and the objective that trains it. Every step uses every parameter but those of the average."""

    def __init__(self, encoder: Encoder, objective: Objective, averaged: bool = False) -> None:
        """Combine encoder and objective; `averaged` also keeps the running average of their weights."""
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.average: Learner | None = None
        if averaged:
            self.average = copy.deepcopy(self).requires_grad_(False)

    @property
    def evaluated(self) -> "Learner":
        """The learner that is validated and becomes the encoder: the average, if one is kept."""
        return self if self.average is None else self.average

    def forward(self, images: Tensor, labels: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            images: Float [n, 3, s, s] in [0, 1].
            labels: Int64 [n].
            targets: Float [n, t], the teacher's embeddings, for distillation alone.

        Returns:
            See `Objective.forward`.
        """
        return self.compute_loss(self.encoder(images), images, labels, targets)

    def compute_loss(
        self, features: Tensor, images: Tensor, labels: Tensor, targets: Tensor | None
    ) -> dict[str, Tensor]:
        """The objective on features [n, d] of the encoder; see `forward`."""
        more = () if targets is None else (targets,)
        out: dict[str, Tensor] = self.objective(features, images, labels, *more)
        return out

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the weights and batch-norm statistics as they are now (Polyak and Juditsky 1992).

        Args:
            decay: share of the average that stays, in [0, 1].
        """
        if self.average is None:
            return
        for kept, new in zip(self.average._iter_numbers(), self._iter_numbers(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)  # a count of batches

    def _iter_numbers(self) -> Iterator[Tensor]:
        for part in (self.encoder, self.objective):
            yield from chain(part.parameters(), part.buffers())


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
