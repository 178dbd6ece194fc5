"""Hierarchical classification: one head names a plant at all ranks at once (hierarchical cross-entropy)."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective
from herbray.model.objectives.head import HeadSpec


class Hierarchical(HeadSpec):
    """Hierarchical cross-entropy (Bertinetto et al. 2020, "Making better mistakes", section 3.1).

    The head gives a probability to each of the finest names; a genus has the sum of its species. The loss of a sheet is
    the weighted sum of -log p(name | name at the next higher rank). A sheet that is named only to genus or family
    contributes the terms of these ranks.
    """

    name: Literal["hierarchical"] = "hierarchical"
    decay: float = Field(
        0.1, ge=0, description="a name h ranks above the finest rank counts exp(-decay · h) times; 0: all ranks equally"
    )

    @property
    def uses_lineage(self) -> bool:
        """It does."""
        return True

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; the image size is not used."""
        del size, classes
        if facts.lineage is None:
            raise ValueError("objective.name=hierarchical needs the lineage of the labels")
        return _HierarchicalHead(dim, facts.lineage, self)


class _HierarchicalHead(Objective):
    lineage: Tensor
    leaves: Tensor
    weights: Tensor

    def __init__(self, dim: int, lineage: Tensor, spec: Hierarchical) -> None:
        super().__init__()
        leaves = _find_leaves(lineage)
        self.layers = spec.build_layers(dim, len(leaves))
        ranks = lineage.shape[1]
        weights = [math.exp(-spec.decay * (ranks - 1 - rank)) for rank in range(ranks)]
        self.register_buffer("lineage", lineage, persistent=False)
        self.register_buffer("leaves", lineage[leaves], persistent=False)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the mean hierarchical cross-entropy, and the accuracy at the finest rank that each row has."""
        del images
        chances = functional.log_softmax(self.layers(features).float(), dim=1)
        known = labels >= 0
        names = self.lineage[labels.clamp_min(0)]  # [n, ranks]
        named = (names >= 0) & known[:, None]
        below = (self.leaves[None] == names[:, None]) & named[:, None]  # [n, leaves, ranks]: leaves of the row's name
        counted = below | ~named[:, None]  # without a name all leaves: log p = 0, and a gradient that is a number
        logs = chances[:, :, None].masked_fill(~counted, -math.inf).logsumexp(dim=1)  # log p(name), [n, ranks]
        loss = -((logs - _find_above(logs, named)) * self.weights * named).sum()
        count = known.sum().clamp_min(1)
        predicted = chances.detach().argmax(dim=1)
        finest = named.int().cumsum(dim=1).argmax(dim=1)
        correct = below[torch.arange(len(labels), device=labels.device), predicted, finest]
        return {"loss": loss / count, "accuracy": (correct & known).sum() / count}


def _find_above(logs: Tensor, named: Tensor) -> Tensor:
    """Log p of the nearest higher name of each name; 0, that of the root, if there is none."""
    above = [torch.zeros_like(logs[:, 0])]
    for rank in range(logs.shape[1] - 1):
        above.append(torch.where(named[:, rank], logs[:, rank], above[-1]))
    return torch.stack(above, dim=1)


def _find_leaves(lineage: Tensor) -> Tensor:
    """The classes that are no other class's ancestor: Int64 [leaves], in order."""
    rows = lineage.tolist()
    ancestors = {(rank, row[rank]) for row in rows for rank in range(_finest(row)) if row[rank] >= 0}
    return torch.tensor([n for n, row in enumerate(rows) if (_finest(row), row[_finest(row)]) not in ancestors])


def _finest(row: list[int]) -> int:
    return max(rank for rank, name in enumerate(row) if name >= 0)
