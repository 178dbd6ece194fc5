"""SimSiam (Chen and He 2021): learning without labels, by predicting one view of a sheet from another."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective, ObjectiveSpec


class Simsiam(ObjectiveSpec):
    """Each view's prediction should point where the other view's projection points; no gradient flows into that."""

    name: Literal["simsiam"] = "simsiam"
    views: int = Field(2, ge=2, le=2, description="augmented copies of each row: the two that predict each other")
    projection: int = Field(512, ge=1, description="width of the projection, three layers")
    bottleneck: int = Field(128, ge=1, description="width of the hidden layer of the prediction")

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; image size, number of labels and facts are not used."""
        del size, classes, facts
        return _Prediction(dim, self)


class _Prediction(Objective):
    def __init__(self, dim: int, spec: Simsiam) -> None:
        super().__init__()
        wide, narrow = spec.projection, spec.bottleneck
        self.projection = nn.Sequential(
            *_make_layer(dim, wide), *_make_layer(wide, wide), nn.Linear(wide, wide, bias=False), _plain_norm(wide)
        )
        self.prediction = nn.Sequential(*_make_layer(wide, narrow), nn.Linear(narrow, wide))

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the mean of 1 - cosine; rows 2i and 2i + 1 are the views of one sheet.

        In evaluation, where a sheet has one view, a row predicts itself. `spread` is the mean deviation of a number of
        the projections at unit length, times the square root of their count: about 1 if they fill all directions, 0 if
        they have collapsed into one.
        """
        del images, labels
        points = self.projection(features).float()
        guesses = self.prediction(points).float()
        other = points.view(-1, 2, points.shape[1]).flip(1).flatten(0, 1) if self.training else points
        loss = 1 - functional.cosine_similarity(guesses, other.detach(), dim=1).mean()
        unit = functional.normalize(points.detach(), dim=1)
        return {"loss": loss, "spread": unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5}


def _make_layer(given: int, made: int) -> tuple[nn.Module, ...]:
    return nn.Linear(given, made, bias=False), nn.BatchNorm1d(made), nn.ReLU()


def _plain_norm(width: int) -> nn.Module:
    """The last norm of the projection, which has no weights of its own."""
    return nn.BatchNorm1d(width, affine=False)
