"""Supervised classification of the label: cross-entropy on a two-layer head (Walker et al. 2022)."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective
from herbray.model.objectives.head import HeadSpec


class Classifier(HeadSpec):
    """Cross-entropy of one label per sheet."""

    name: Literal["classifier"] = "classifier"

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; image size and facts are not used."""
        del size, facts
        return _Head(self.build_layers(dim, classes))


class _Head(Objective):
    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute mean cross-entropy and accuracy over the rows of known label."""
        del images
        logits = self.layers(features).float()
        known = labels >= 0
        count = known.sum().clamp_min(1)  # a batch without a known label has loss 0, not 0/0
        loss = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / count
        correct = (logits.detach().argmax(dim=1) == labels) & known
        return {"loss": loss, "accuracy": correct.sum() / count}
