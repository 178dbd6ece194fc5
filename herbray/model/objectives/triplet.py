"""Triplet margin loss on genera: an anchor lies nearer to its own genus than to another, by a margin.

Weinberger and Saul 2009; mined in the batch after Schroff et al. 2015 (semi-hard) and Hermans et al. 2017 (all, hard).
Walker et al. 2022 mine nothing: every image is an anchor, its positive is a random image of its genus, its negative a
random image of a random other genus, and each triplet takes three forward passes. `mining=published normalise=false
margin=1.0 group=2 rivals=16` draws triplets of that distribution from batches in which each image is computed once:
`herbray.data.plan.epoch_plan` tells how, and what it leaves dependent.
"""

from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from herbray.model.gather import everyone
from herbray.model.objectives.base import Objective, ObjectiveSpec

Mining = Literal["random", "all", "semi_hard", "hard", "published"]


class Triplet(ObjectiveSpec):
    """Distances are Euclidean. With `normalise` they are between unit vectors, at most 2.

    The defaults were the best of ten settings in 120 steps from random weights on drawn sheets of 48 px. `hard` from
    random weights collapses to one point; it is for a network that already tells genera apart.
    """

    name: Literal["triplet"] = "triplet"
    group: int = Field(4, ge=1, description="rows of one genus that stand side by side in a batch")
    margin: float = Field(0.1, gt=0, description="how much farther the negative must lie than the positive")
    normalise: bool = Field(True, description="measure distance between unit vectors")
    mining: Mining = Field(
        "all", description="which triplets of a batch count: every one, or those that `mine` or `published` choose"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.mining == "published" and not self.rivals:
            raise ValueError("mining=published takes its negatives from rivals, of which there are 0: set rivals=16")
        if self.mining != "published" and self.rivals:
            raise ValueError(f"rivals={self.rivals} serve mining=published alone: set rivals=0 for {self.mining}")
        if self.mining == "published" and (self.group, self.views) != (2, 1):
            raise ValueError(f"mining=published takes pairs: set group=2, views=1, not {self.group}, {self.views}")
        return self

    def build(self, dim: int, size: int, classes: int) -> Objective:
        """See `ObjectiveSpec.build`; none of the three matters."""
        del dim, size, classes
        return _TripletLoss(self.margin, self.normalise, self.mining, self.rivals)


class Triplets(NamedTuple):
    """Rows of a batch, t triplets: Int64 [t] each, and which of them count: Bool [t]."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    counts: Tensor


class _TripletLoss(Objective):
    def __init__(self, margin: float, normalise: bool, mining: Mining, rivals: int) -> None:
        super().__init__()
        self.margin, self.normalise, self.mining, self.rivals = margin, normalise, mining, rivals

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean hinge, the share of triplets inside the margin, and the mean distances. Zero without any triplet."""
        del images
        if self.training and self.mining != "published":  # in evaluation ranks may hold different numbers of batches
            features, labels = everyone(features, labels)  # a published batch is whole: its mean is DDP's to take
        points = features.float()
        if self.normalise:
            points = functional.normalize(points, dim=1)
        if self.mining == "all":
            return _all(points, labels, self.margin)
        if self.mining == "published":
            chosen = published(labels, self.rivals)
        else:
            chosen = mine(points.detach(), labels, self.mining)
        # `index_select` goes back more cheaply than an index; in `hard` and `random` row i is anchor i.
        anchors = points if self.mining in ("random", "hard") else points.index_select(0, chosen.anchor)
        near = _length(anchors - points.index_select(0, chosen.positive))
        far = _length(anchors - points.index_select(0, chosen.negative))
        hinge = functional.relu(near - far + self.margin) * chosen.counts
        count = chosen.counts.sum().clamp_min(1)
        loss = hinge.sum() / count + 0.0 * features.sum()  # a batch without a triplet keeps its graph, which DDP needs
        near, far = ((length.detach() * chosen.counts).sum() / count for length in (near, far))
        return {"loss": loss, "active": (hinge.detach() > 0).sum() / count, "near": near, "far": far}


def published(labels: Tensor, rivals: int) -> Triplets:
    """The triplets of Walker et al. 2022: each paired row with its mate and a random rival of another genus.

    Whether a genus is that rival's depends on no property of the genus, since rivals are of all genera alike. Draws one
    number of torch's CPU generator; the same on every device.

    Args:
        labels: Int64 [n], pairs side by side, then the rivals; rows of label -1 are in no triplet.
        rivals: how many.
    """
    paired = len(labels) - rivals
    anchors = torch.arange(paired, device=labels.device)
    genera, others = labels[:paired], labels[paired:]
    other = (genera.unsqueeze(1) != others) & (others >= 0) & (genera >= 0).unsqueeze(1)
    seed = int(torch.randint(2**31, ()))
    key = _mix(_mix(anchors + seed).unsqueeze(1) + paired + torch.arange(rivals, device=labels.device))
    negative = paired + torch.where(other, key, -1).argmax(dim=1)
    return Triplets(anchors, anchors ^ 1, negative, other.any(dim=1))


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
    if mining == "random":
        return _random(labels, *_pairs(labels), torch.randint(2**31, ()))
    found, paired = _mates(labels)
    lengths = distances(points)
    rivals = lengths.masked_fill(_barred(labels), torch.inf)  # no rival is never the nearest
    near = lengths.gather(1, found)
    rows = torch.arange(len(labels), device=labels.device)
    if mining == "hard":
        positive = found.gather(1, near.masked_fill(~paired, -1).argmax(dim=1, keepdim=True)).squeeze(1)
        far, negative = rivals.min(dim=1)
        return Triplets(rows, positive, negative, paired.any(dim=1) & far.isfinite())
    anchor = rows.unsqueeze(1).expand_as(found)
    some = rivals.isfinite().any(dim=1, keepdim=True).expand_as(found)
    return Triplets(anchor[paired], found[paired], _beyond(near, paired, rivals)[paired], some[paired])


def _beyond(near: Tensor, paired: Tensor, rivals: Tensor) -> Tensor:
    """For each pair the nearest rival that is farther than the pair is long, else the farthest: Int64 [n, g].

    Rivals fall into the gaps between an anchor's sorted pairs; the nearest of each gap, carried inwards, answers all
    pairs at once. A distance and its column travel as one integer, which orders as the distance does (IEEE 754).

    Args:
        near: Float32 [n, g], lengths of pairs.
        paired: Bool [n, g], which of them are pairs.
        rivals: Float32 [n, n], infinite where there is no rival.
    """
    n, slots = near.shape
    reach, order = near.masked_fill(~paired, torch.inf).sort(dim=1)
    gap = torch.searchsorted(reach, rivals)  # how many pairs are shorter
    keys = (rivals.view(torch.int32).long() << 32) + torch.arange(n, device=near.device)
    nothing = torch.full((n, slots + 1), torch.iinfo(torch.int64).max, device=near.device)
    nearest = nothing.scatter_reduce_(1, gap, keys, "amin").flip(1).cummin(dim=1).values.flip(1)[:, 1:]
    nearest = torch.empty_like(nearest).scatter_(1, order, nearest)
    farthest = rivals.masked_fill(rivals.isinf(), -1).argmax(dim=1, keepdim=True)
    infinite = torch.tensor(torch.inf).view(torch.int32).long() << 32
    return torch.where(nearest < infinite, nearest & 0xFFFFFFFF, farthest)


def distances(points: Tensor) -> Tensor:
    """Euclidean distances of all pairs: Float [n, d] → Float [n, n].

    Distances too small for the precision of the expanded square are 0 and have gradient 0, where the root has none.
    """
    lengths: Tensor = _Distances.apply(points)
    return lengths


class _Distances(torch.autograd.Function):
    """Keeps the points and the distances alone, and goes back with one matrix product instead of two."""

    @staticmethod
    def forward(ctx: Any, points: Tensor) -> Tensor:  # noqa: ANN401  (autograd's own context)
        with torch.autocast(points.device.type, enabled=False):  # half precision would lose the small distances
            squares = points.square().sum(dim=1)
            sums = squares.unsqueeze(1) + squares
            expanded = torch.addmm(sums, points, points.T, alpha=-2)
        lengths = expanded.masked_fill_(expanded <= sums.mul_(1e-6), 0).sqrt_()
        ctx.save_for_backward(points, lengths)
        return lengths

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        points, lengths = ctx.saved_tensors
        with torch.autocast(points.device.type, enabled=False):
            pull = (gradient / lengths).masked_fill_(lengths == 0, 0)
            pull = pull + pull.T
            return torch.addmm(pull.sum(dim=1, keepdim=True) * points, pull, points, alpha=-1)


def _length(vectors: Tensor) -> Tensor:
    """Norm of each row, with gradient 0 at 0."""
    squares = vectors.square().sum(dim=1)
    apart = squares > 0
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


def _all(points: Tensor, labels: Tensor, margin: float) -> dict[str, Tensor]:
    """Mean over the triplets inside the margin, of all that the batch holds, in memory of n² for up to n³ triplets.

    The sum of hinges is linear in the distances: each counts as often as its pair is in an active triplet. Those counts
    come from sorting each anchor's few positives and looking up where its rivals fall among them.
    """
    lengths = distances(points)
    with torch.no_grad():
        found, paired = _mates(labels)
        near = lengths.gather(1, found)
        reach, order = (near + margin).masked_fill(~paired, -torch.inf).sort(dim=1)
        barred = _barred(labels)
        passed = torch.searchsorted(reach, lengths.masked_fill(barred, torch.inf), right=True)  # positives left behind
        slots = reach.shape[1]
        tally = torch.zeros(len(points), slots + 1, dtype=torch.int64, device=points.device)
        within = tally.scatter_add_(1, passed, torch.ones_like(passed)).cumsum(dim=1)[:, :slots]  # rivals in reach
        active = within.sum()
        counts = (passed - slots).to(lengths.dtype)
        counts.scatter_add_(1, found.gather(1, order), within.to(lengths.dtype))
        counts /= active.clamp_min(1)
        rivals, mates = (~barred).sum(dim=1), paired.sum(dim=1)
        triplets = rivals.mul(mates).sum().clamp_min(1)
        figures = {
            "active": active / triplets,
            "near": (near.mul(paired).sum(dim=1) * rivals).sum() / triplets,
            "far": (lengths.masked_fill(barred, 0).sum(dim=1) * mates).sum() / triplets,
        }
    return {"loss": (counts * lengths).sum() + margin * (active > 0), **figures}


def _mates(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's genus: Int64 [n, g] rows in ascending order, and Bool [n, g], which of them are its positives.

    g is the size of the largest genus. Padding and the row itself are no positives; a row of label -1 has none.
    """
    ordered, order = labels.sort(stable=True)
    first = torch.searchsorted(ordered, labels)
    sizes = torch.searchsorted(ordered, labels, right=True) - first
    slot = torch.arange(int(sizes.max()), device=labels.device)
    found = order[(first.unsqueeze(1) + slot).clamp_max(len(labels) - 1)]
    rows = torch.arange(len(labels), device=labels.device).unsqueeze(1)
    paired = (slot < sizes.unsqueeze(1)) & (found != rows) & (labels >= 0).unsqueeze(1)
    return found, paired


def _barred(labels: Tensor) -> Tensor:
    """Bool [n, n]: two rows that are not known to be of two genera."""
    unknown = labels < 0
    return (labels.unsqueeze(1) == labels).logical_or_(unknown).logical_or_(unknown.unsqueeze(1))


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
