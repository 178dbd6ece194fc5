"""Sub-centre ArcFace (Deng et al. 2020): classification by the angle to the nearest of several centres of a name.

An angular margin (Deng et al. 2019) is added to the angle of the true name, so features of a name must lie closer
together than classification needs. Several centres let a label have several forms, and wrongly named sheets their own.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective, ObjectiveSpec


class Arcface(ObjectiveSpec):
    """Cross-entropy of scaled cosines."""

    name: Literal["arcface"] = "arcface"
    centres: int = Field(3, ge=1, description="centres of each label; 1: plain ArcFace")
    margin: float = Field(0.2, ge=0, lt=math.pi / 2, description="angle added to that of the true label, in radians")
    scale: float = Field(20.0, gt=0, description="factor of the cosines before the softmax")

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; the image size is not used."""
        del size, facts
        if classes < 2:
            raise ValueError(f"{classes} label to classify: the training split needs at least two labels")
        return _AngularHead(dim, classes, self)


class _AngularHead(Objective):
    def __init__(self, dim: int, classes: int, spec: Arcface) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(classes, spec.centres, dim))
        nn.init.xavier_uniform_(self.centres.view(classes * spec.centres, dim))
        self.margin, self.scale = spec.margin, spec.scale

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute mean cross-entropy over the rows of known label, and the accuracy without margin."""
        del images
        points = functional.normalize(features.float(), dim=1)
        centres = functional.normalize(self.centres.float(), dim=2)
        cosines = torch.einsum("bd,ckd->bck", points, centres).amax(dim=2)  # the nearest centre of each label
        known = labels >= 0
        rows = torch.arange(len(labels), device=labels.device)
        true = labels.clamp_min(0)
        moved = cosines.index_put((rows, true), _add_angle(cosines[rows, true], self.margin))
        count = known.sum().clamp_min(1)
        loss = functional.cross_entropy(self.scale * moved, labels, ignore_index=-1, reduction="sum") / count
        correct = (cosines.detach().argmax(dim=1) == labels) & known
        return {"loss": loss, "accuracy": correct.sum() / count}


def _add_angle(cosine: Tensor, margin: float) -> Tensor:
    """The cosine of the angle plus the margin; beyond π - margin a line of the same slope, so that it keeps falling."""
    bounded = cosine.clamp(-1 + 1e-7, 1 - 1e-7)
    sine = (1 - bounded.square()).sqrt()
    moved = bounded * math.cos(margin) - sine * math.sin(margin)
    return torch.where(bounded > -math.cos(margin), moved, bounded - margin * math.sin(margin))
