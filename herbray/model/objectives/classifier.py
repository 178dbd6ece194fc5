"""Supervised classification of the genus: cross-entropy on a two-layer head (Walker et al. 2022)."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import Objective, ObjectiveSpec


class Classifier(ObjectiveSpec):
    """Batch norm, dropout, linear, ReLU, batch norm, dropout, linear; both linear maps without bias, as published."""

    name: Literal["classifier"] = "classifier"
    hidden: int = Field(512, ge=1, description="width of the hidden layer")
    dropout_features: float = Field(0.25, ge=0, lt=1, description="dropout rate before the first linear layer")
    dropout_hidden: float = Field(0.5, ge=0, lt=1, description="dropout rate before the second linear layer")

    def build(self, dim: int, size: int, classes: int) -> Objective:
        """See `ObjectiveSpec.build`; the image size is not used."""
        del size
        if classes < 2:
            raise ValueError(f"{classes} label to classify: the training split needs at least two labels")
        return _Head(
            nn.Sequential(
                nn.BatchNorm1d(dim),
                nn.Dropout(self.dropout_features),
                nn.Linear(dim, self.hidden, bias=False),
                nn.ReLU(),
                nn.BatchNorm1d(self.hidden),
                nn.Dropout(self.dropout_hidden),
                nn.Linear(self.hidden, classes, bias=False),
            )
        )


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
