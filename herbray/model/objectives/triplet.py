"""Triplet margin loss on genera: an anchor must be nearer to its own genus than to any other, by a margin.

Weinberger and Saul 2009; mined in the batch after Schroff et al. 2015 (semi-hard) and Hermans et al. 2017 (all, hard).
Walker et al. 2022 do not mine: every image is an anchor, its positive is a random image of its genus, its negative a
random image of a random other genus, and each triplet takes three forward passes. `mining=published normalise=false
margin=1.0 group=2 rivals=16` draws triplets with that distribution from batches in which each image is computed once:
`herbray.data.planning.rivals` explains how, and which triplets are not independent.
"""

from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from herbray.model.all_gather import gather_batch
from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective, ObjectiveSpec

Mining = Literal["random", "all", "semi_hard", "hard", "published"]


class Triplet(ObjectiveSpec):
    """Distances are Euclidean. With `normalise`, distances are between unit vectors, so at most 2.

    The defaults were the best of ten settings in 120 steps from random weights on synthetic sheets of 48 px. From
    random weights, `hard` collapses to one point; use it for a network that already separates labels.
    """

    name: Literal["triplet"] = "triplet"
    group: int = Field(4, ge=1, description="adjacent rows of one label in a batch")
    margin: float = Field(0.1, gt=0, description="how much farther the negative must lie than the positive")
    normalise: bool = Field(True, description="measure distances between unit vectors")
    mining: Mining = Field(
        "all", description="which triplets of a batch count: all of them, or those chosen by the named rule"
    )

    @model_validator(mode="after")
    def _check_mining(self) -> Self:
        if self.mining == "published" and not self.rivals:
            raise ValueError("mining=published takes its negatives from rivals, but rivals=0: set rivals=16")
        if self.mining != "published" and self.rivals:
            raise ValueError(
                f"rivals={self.rivals}, but only mining=published uses rivals: set rivals=0 for {self.mining}"
            )
        if self.mining == "published" and (self.group, self.views) != (2, 1):
            raise ValueError(f"mining=published needs pairs: set group=2, views=1, not {self.group}, {self.views}")
        return self

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; none of the arguments is used."""
        del dim, size, classes, facts
        return _TripletLoss(self.margin, self.normalise, self.mining, self.rivals)


class Triplets(NamedTuple):
    """The rows of t triplets in a batch: Int64 [t] each; and the mask of triplets that count: Bool [t]."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    counts: Tensor


class _TripletLoss(Objective):
    def __init__(self, margin: float, normalise: bool, mining: Mining, rivals: int) -> None:
        super().__init__()
        self.margin, self.normalise, self.mining, self.rivals = margin, normalise, mining, rivals

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute mean hinge, share of triplets inside the margin, and mean distances; zeros without triplets."""
        del images
        # In evaluation, ranks may have different numbers of batches. DDP averages the losses of `published` batches.
        if self.training and self.mining != "published":
            features, labels = gather_batch(features, labels)
        points = features.float()
        if self.normalise:
            points = functional.normalize(points, dim=1)
        if self.mining == "all":
            return _compute_loss_of_all(points, labels, self.margin)
        if self.mining == "published":
            chosen = choose_published(labels, self.rivals)
        else:
            chosen = mine_triplets(points.detach(), labels, self.mining)
        # `index_select` has a cheaper backward pass than an index; in `hard` and `random`, row i is anchor i.
        anchors = points if self.mining in ("random", "hard") else points.index_select(0, chosen.anchor)
        near = _measure_lengths(anchors - points.index_select(0, chosen.positive))
        far = _measure_lengths(anchors - points.index_select(0, chosen.negative))
        hinge = functional.relu(near - far + self.margin) * chosen.counts
        count = chosen.counts.sum().clamp_min(1)
        loss = hinge.sum() / count + 0.0 * features.sum()  # keeps the graph, which DDP needs, if there is no triplet
        near, far = ((length.detach() * chosen.counts).sum() / count for length in (near, far))
        return {"loss": loss, "active": (hinge.detach() > 0).sum() / count, "near": near, "far": far}


def choose_published(labels: Tensor, rivals: int) -> Triplets:
    """Choose the triplets of Walker et al. 2022: each paired row with its mate and a random rival of another label.

    All labels are equally likely to supply the rival, because rivals are drawn from all labels equally. Draws one
    number from torch's CPU generator; the result is the same on every device.

    Args:
        labels: Int64 [n], pairs side by side, then the rivals; rows with label -1 are in no triplet.
        rivals: number of rivals.
    """
    paired = len(labels) - rivals
    anchors = torch.arange(paired, device=labels.device)
    genera, others = labels[:paired], labels[paired:]
    other = (genera.unsqueeze(1) != others) & (others >= 0) & (genera >= 0).unsqueeze(1)
    seed = int(torch.randint(2**31, ()))
    key = _scatter_integers(
        _scatter_integers(anchors + seed).unsqueeze(1) + paired + torch.arange(rivals, device=labels.device)
    )
    negative = paired + torch.where(other, key, -1).argmax(dim=1)
    return Triplets(anchors, anchors ^ 1, negative, other.any(dim=1))


def mine_triplets(points: Tensor, labels: Tensor, mining: Literal["random", "semi_hard", "hard"]) -> Triplets:
    """Choose triplets of a batch.

    * `random`: each row with a random other row of its label (with itself if there is none) and a random row of a
      random other label, all labels equally likely. Draws one number from torch's CPU generator; the result is the same
      on every device.
    * `hard`: each row with the farthest row of its label and the nearest row of another label.
    * `semi_hard`: each pair of a label with the nearest row of another label that is farther than the pair's distance;
      if there is none, with the farthest row of another label.

    Args:
        points: Float [n, d], without gradient.
        labels: Int64 [n]; rows with label -1 are in no triplet.
        mining: the rule.
    """
    if mining == "random":
        return _choose_random(labels, *_mask_pairs(labels), torch.randint(2**31, ()))
    found, paired = _find_mates(labels)
    lengths = measure_distances(points)
    rivals = lengths.masked_fill(_mask_non_rivals(labels), torch.inf)  # rows that are not rivals are never nearest
    near = lengths.gather(1, found)
    rows = torch.arange(len(labels), device=labels.device)
    if mining == "hard":
        positive = found.gather(1, near.masked_fill(~paired, -1).argmax(dim=1, keepdim=True)).squeeze(1)
        far, negative = rivals.min(dim=1)
        return Triplets(rows, positive, negative, paired.any(dim=1) & far.isfinite())
    anchor = rows.unsqueeze(1).expand_as(found)
    some = rivals.isfinite().any(dim=1, keepdim=True).expand_as(found)
    return Triplets(anchor[paired], found[paired], _find_nearest_beyond(near, paired, rivals)[paired], some[paired])


def _find_nearest_beyond(near: Tensor, paired: Tensor, rivals: Tensor) -> Tensor:
    """Find for each pair the nearest rival beyond the pair's distance, else the farthest rival: Int64 [n, g].

    Rivals are sorted into the gaps between an anchor's sorted pair distances; a cumulative minimum over the nearest
    rivals of the gaps, from the outside inwards, answers all pairs at once. A distance and its column are packed into
    one integer, which sorts as the distance does (IEEE 754).

    Args:
        near: Float32 [n, g], distances of pairs.
        paired: Bool [n, g], which entries are pairs.
        rivals: Float32 [n, n], distances of rivals; infinite for rows that are not rivals.
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


def measure_distances(points: Tensor) -> Tensor:
    """Measure the Euclidean distances of all pairs: Float [n, d] → Float [n, n].

    Distances too small for the precision of the expanded square are 0 and have gradient 0, because the gradient of the
    square root is infinite there.
    """
    lengths: Tensor = _Distances.apply(points)
    return lengths


class _Distances(torch.autograd.Function):
    """Saves only points and distances for the backward pass, which takes one matrix product instead of two."""

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


def _measure_lengths(vectors: Tensor) -> Tensor:
    """Measure the length of each row, with gradient 0 at 0."""
    squares = vectors.square().sum(dim=1)
    is_positive = squares > 0
    return torch.where(is_positive, torch.where(is_positive, squares, 1.0).sqrt(), 0.0)


def _compute_loss_of_all(points: Tensor, labels: Tensor, margin: float) -> dict[str, Tensor]:
    """Compute the mean hinge over all triplets inside the margin, in n² memory for up to n³ triplets.

    The sum of hinges is linear in the distances: each distance counts as often as its pair is in an active triplet. The
    counts come from sorting each anchor's few positives and looking up the positions of its rivals among them.
    """
    lengths = measure_distances(points)
    with torch.no_grad():
        found, paired = _find_mates(labels)
        near = lengths.gather(1, found)
        reach, order = (near + margin).masked_fill(~paired, -torch.inf).sort(dim=1)
        masked = _mask_non_rivals(labels)
        # Per rival, count the positives that are nearer by the margin; per positive, the rivals inside the margin.
        nearer_positives = torch.searchsorted(reach, lengths.masked_fill(masked, torch.inf), right=True)
        slots = reach.shape[1]
        tally = torch.zeros(len(points), slots + 1, dtype=torch.int64, device=points.device)
        within = tally.scatter_add_(1, nearer_positives, torch.ones_like(nearer_positives)).cumsum(dim=1)[:, :slots]
        active = within.sum()
        counts = (nearer_positives - slots).to(lengths.dtype)
        counts.scatter_add_(1, found.gather(1, order), within.to(lengths.dtype))
        counts /= active.clamp_min(1)
        rivals, mates = (~masked).sum(dim=1), paired.sum(dim=1)
        triplets = rivals.mul(mates).sum().clamp_min(1)
        figures = {
            "active": active / triplets,
            "near": (near.mul(paired).sum(dim=1) * rivals).sum() / triplets,
            "far": (lengths.masked_fill(masked, 0).sum(dim=1) * mates).sum() / triplets,
        }
    return {"loss": (counts * lengths).sum() + margin * (active > 0), **figures}


def _find_mates(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Find the rows of each row's label: Int64 [n, g], ascending, and Bool [n, g], which of them are positives.

    g is the size of the largest label. Padding and the row itself are not positives; a row with label -1 has none.
    """
    ordered, order = labels.sort(stable=True)
    first = torch.searchsorted(ordered, labels)
    sizes = torch.searchsorted(ordered, labels, right=True) - first
    slot = torch.arange(int(sizes.max()), device=labels.device)
    found = order[(first.unsqueeze(1) + slot).clamp_max(len(labels) - 1)]
    rows = torch.arange(len(labels), device=labels.device).unsqueeze(1)
    paired = (slot < sizes.unsqueeze(1)) & (found != rows) & (labels >= 0).unsqueeze(1)
    return found, paired


def _mask_non_rivals(labels: Tensor) -> Tensor:
    """Mask pairs that are not known to be of different labels: Bool [n, n]."""
    unknown = labels < 0
    return (labels.unsqueeze(1) == labels).logical_or_(unknown).logical_or_(unknown.unsqueeze(1))


def _mask_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mask pairs of different rows of one label, and pairs of rows of two labels: Bool [n, n] each."""
    known = labels >= 0
    known = known.unsqueeze(1) & known
    same = labels.unsqueeze(1) == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & known & ~itself, ~same & known


def _choose_random(labels: Tensor, same: Tensor, other: Tensor, seed: Tensor) -> Triplets:
    rows = torch.arange(len(labels), device=labels.device)
    row_key = _scatter_integers(
        _scatter_integers(rows + int(seed)).unsqueeze(1) + rows
    )  # [n, n]: random preference of row i for row j
    genus_key = _scatter_integers(
        _scatter_integers(rows + int(seed) + 2**31).unsqueeze(1) + labels
    )  # equal for all rows of a label
    preference = torch.where(other, genus_key, -1)
    genus = other & (preference == preference.amax(dim=1, keepdim=True))
    positive = torch.where(same.any(dim=1), torch.where(same, row_key, -1).argmax(dim=1), rows)
    return Triplets(rows, positive, torch.where(genus, row_key, -1).argmax(dim=1), other.any(dim=1))


def _scatter_integers(keys: Tensor) -> Tensor:
    """Scatter integers over [0, 2³²): the same pseudo-random numbers on every device, without a generator."""
    keys = keys & 0xFFFFFFFF
    for _ in range(2):
        keys = ((keys ^ (keys >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return keys ^ (keys >> 16)
