"""Supervised contrastive loss (Khosla et al. 2020, `L_out`): an anchor is near all of its name, far from the rest."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.all_gather import gather_batch
from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective, ObjectiveSpec


class Contrastive(ObjectiveSpec):
    """Cosine similarities of projected features, divided by the temperature, compared over the whole batch."""

    name: Literal["contrastive"] = "contrastive"
    group: int = Field(4, ge=1, description="adjacent rows of one label in a batch")
    temperature: float = Field(
        0.1, gt=0, description="divisor of the similarities; smaller: the nearest rows count more"
    )
    projection: int = Field(128, ge=0, description="length of the projected vectors; 0: the features themselves")

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; image size and number of labels are not used."""
        del size, classes, facts
        if not self.projection:
            return _ContrastiveLoss(nn.Identity(), self.temperature)
        head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, self.projection))
        return _ContrastiveLoss(head, self.temperature)


class _ContrastiveLoss(Objective):
    def __init__(self, head: nn.Module, temperature: float) -> None:
        super().__init__()
        self.head, self.temperature = head, temperature

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the mean over the anchors that have a positive, and the mean similarities; zeros without any."""
        del images
        points = self.head(features)
        if self.training:  # in evaluation, ranks may have different numbers of batches
            points, labels = gather_batch(points, labels)
        points = functional.normalize(points.float(), dim=1)
        alike = points @ points.T
        known = (labels >= 0).unsqueeze(1) & (labels >= 0)
        other = known & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = other & (labels.unsqueeze(1) == labels)
        logits = (alike / self.temperature).masked_fill(~other, -torch.inf)
        total = torch.where(other.any(dim=1, keepdim=True), logits, 0.0).logsumexp(dim=1)
        mates = positive.sum(dim=1)
        own = torch.where(positive, alike / self.temperature, 0.0).sum(dim=1) / mates.clamp_min(1)
        count = (mates > 0).sum().clamp_min(1)
        loss = torch.where(mates > 0, total - own, 0.0).sum() / count + 0.0 * points.sum()
        near, far = (_mean_where(alike.detach(), mask) for mask in (positive, other & ~positive))
        return {"loss": loss, "near": near, "far": far}


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)
