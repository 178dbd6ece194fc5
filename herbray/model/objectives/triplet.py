"""Triplet margin loss on genera: an anchor lies nearer to its own genus than to another, by a margin.

Weinberger and Saul 2009; mined in the batch after Schroff et al. 2015 (semi-hard) and Hermans et al. 2017 (all, hard).
Walker et al. 2022 is `mining=random normalise=false margin=1.0 group=2`: there every image is an anchor, its
positive and its negative are drawn at random.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from herbray.model.objectives.base import Objective, ObjectiveSpec

Mining = Literal["random", "all", "semi_hard", "hard"]


class Triplet(ObjectiveSpec):
    """Distances are Euclidean. With `normalise` they are between unit vectors, at most 2.

    The defaults were the best of ten settings in 120 steps from random weights on drawn sheets of 48 px. `hard` from
    random weights collapses to one point; it is for a network that already tells genera apart.
    """

    name: Literal["triplet"] = "triplet"
    group: int = Field(4, ge=1, description="rows of one genus that stand side by side in a batch")
    margin: float = Field(0.1, gt=0)
    normalise: bool = Field(True, description="measure distance between unit vectors")
    mining: Mining = Field(
        "all", description="which triplets of a batch count: every one, or those that `mine` chooses"
    )

    def build(self, dim: int, size: int, classes: int) -> Objective:
        """See `ObjectiveSpec.build`; none of the three matters."""
        del dim, size, classes
        return _TripletLoss(self.margin, self.normalise, self.mining)


class Triplets(NamedTuple):
    """Rows of a batch, t triplets: Int64 [t] each, and which of them count: Bool [t]."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    counts: Tensor


class _TripletLoss(Objective):
    def __init__(self, margin: float, normalise: bool, mining: Mining) -> None:
        super().__init__()
        self.margin, self.normalise, self.mining = margin, normalise, mining

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean hinge, the share of triplets inside the margin, and the mean distances. Zero without any triplet."""
        del images
        points = features.float()
        if self.normalise:
            points = functional.normalize(points, dim=1)
        if self.mining == "all":
            return _all(points, labels, self.margin)
        chosen = mine(points.detach(), labels, self.mining)
        near = _length(points[chosen.anchor] - points[chosen.positive])
        far = _length(points[chosen.anchor] - points[chosen.negative])
        hinge = functional.relu(near - far + self.margin) * chosen.counts
        count = chosen.counts.sum().clamp_min(1)
        loss = hinge.sum() / count + 0.0 * features.sum()  # a batch without a triplet keeps its graph, which DDP needs
        return _figures(loss, (hinge > 0).sum() / count, near, far, chosen.counts)


def mine(points: Tensor, labels: Tensor, mining: Literal["random", "semi_hard", "hard"]) -> Triplets:
    """Choose triplets of a batch.

    * `random`: each row with a random other row of its genus (itself where it is alone) and a random row of a random
      other genus, all genera alike. Draws one number of torch's CPU generator; the same on every device.
    * `hard`: each row with the farthest row of its genus and the nearest of another.
    * `semi_hard`: each pair of a genus with the nearest row of another genus that is farther than the pair is long;
      where there is none, with the farthest row of another genus.

    Args:
        points: Float [n, d], without gradient.
        labels: Int64 [n]; rows of label -1 are in no triplet.
        mining: the rule.
    """
    same, other = _pairs(labels)
    if mining == "random":
        return _random(labels, same, other, torch.randint(2**31, ()))
    lengths = distances(points)
    rows = torch.arange(len(labels), device=labels.device)
    if mining == "hard":
        positive = lengths.masked_fill(~same, -1).argmax(dim=1)
        negative = lengths.masked_fill(~other, torch.inf).argmin(dim=1)
        return Triplets(rows, positive, negative, same.any(dim=1) & other.any(dim=1))
    anchor, positive = same.nonzero(as_tuple=True)
    far, rival = lengths[anchor], other[anchor]
    farther = rival & (far > lengths[anchor, positive].unsqueeze(1))
    nearest = far.masked_fill(~farther, torch.inf).argmin(dim=1)
    farthest = far.masked_fill(~rival, -1).argmax(dim=1)
    return Triplets(anchor, positive, torch.where(farther.any(dim=1), nearest, farthest), rival.any(dim=1))


def distances(points: Tensor) -> Tensor:
    """Euclidean distances of all pairs: Float [n, d] → Float [n, n].

    Distances too small for the precision of the expanded square are 0 and have gradient 0, where the root has none.
    """
    with torch.autocast(points.device.type, enabled=False):  # half precision would lose the small distances
        squares = points.square().sum(dim=1)
        sums = squares.unsqueeze(1) + squares
        expanded = sums - 2 * points @ points.T
    apart = expanded > 1e-6 * sums.detach()
    return torch.where(apart, torch.where(apart, expanded, 1.0).sqrt(), 0.0)


def _length(vectors: Tensor) -> Tensor:
    """Norm of each row, with gradient 0 at 0."""
    squares = vectors.square().sum(dim=1)
    apart = squares > 0
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


def _all(points: Tensor, labels: Tensor, margin: float) -> dict[str, Tensor]:
    """Mean over the triplets inside the margin, of all that the batch holds."""
    same, other = _pairs(labels)
    lengths = distances(points)
    anchor, positive = same.nonzero(as_tuple=True)
    near, far, rival = lengths[anchor, positive], lengths[anchor], other[anchor]
    hinge = functional.relu(near.unsqueeze(1) - far + margin) * rival
    active = (hinge > 0).sum()
    loss = hinge.sum() / active.clamp_min(1) + 0.0 * points.sum()
    return _figures(loss, active / rival.sum().clamp_min(1), near.unsqueeze(1), far, rival)


def _figures(loss: Tensor, active: Tensor, near: Tensor, far: Tensor, counts: Tensor) -> dict[str, Tensor]:
    count = counts.sum().clamp_min(1)
    means = {name: (value.detach() * counts).sum() / count for name, value in (("near", near), ("far", far))}
    return {"loss": loss, "active": active.detach(), **means}


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Bool [n, n] each: two different rows of one genus; rows of two genera."""
    known = labels >= 0
    known = known.unsqueeze(1) & known
    same = labels.unsqueeze(1) == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & known & ~itself, ~same & known


def _random(labels: Tensor, same: Tensor, other: Tensor, seed: Tensor) -> Triplets:
    rows = torch.arange(len(labels), device=labels.device)
    row_key = _mix(_mix(rows + int(seed)).unsqueeze(1) + rows)  # [n, n]: how row i likes row j
    genus_key = _mix(_mix(rows + int(seed) + 2**31).unsqueeze(1) + labels)  # the same for all rows of a genus
    liked = torch.where(other, genus_key, -1)
    genus = other & (liked == liked.amax(dim=1, keepdim=True))
    positive = torch.where(same.any(dim=1), torch.where(same, row_key, -1).argmax(dim=1), rows)
    return Triplets(rows, positive, torch.where(genus, row_key, -1).argmax(dim=1), other.any(dim=1))


def _mix(keys: Tensor) -> Tensor:
    """Scatter integers over [0, 2³²): the same draws on every device, without its generator."""
    keys = keys & 0xFFFFFFFF
    for _ in range(2):
        keys = ((keys ^ (keys >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return keys ^ (keys >> 16)
