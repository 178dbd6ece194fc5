"""The layers between an encoder and the names that an objective distinguishes."""

from abc import ABC

from pydantic import Field
from torch import nn

from herbray.model.objectives.base import ObjectiveSpec


class HeadSpec(ObjectiveSpec, ABC):
    """Batch norm, dropout, linear, ReLU, batch norm, dropout, linear; both linear maps without bias, as published.

    The source is Walker et al. 2022.
    """

    hidden: int = Field(512, ge=1, description="width of the hidden layer")
    dropout_features: float = Field(0.25, ge=0, lt=1, description="dropout rate before the first linear layer")
    dropout_hidden: float = Field(0.5, ge=0, lt=1, description="dropout rate before the second linear layer")

    def build_layers(self, dim: int, names: int) -> nn.Sequential:
        """Build the layers: Float [n, dim] → Float [n, names].

        Raises:
            ValueError: fewer than two names.
        """
        if names < 2:
            raise ValueError(f"{names} label to classify: the training split needs at least two labels")
        return nn.Sequential(
            nn.BatchNorm1d(dim),
            nn.Dropout(self.dropout_features),
            nn.Linear(dim, self.hidden, bias=False),
            nn.ReLU(),
            nn.BatchNorm1d(self.hidden),
            nn.Dropout(self.dropout_hidden),
            nn.Linear(self.hidden, names, bias=False),
        )
