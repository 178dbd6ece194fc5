"""Exact nearest neighbours, in blocks of a matrix that never stands in memory as a whole."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["cosine", "euclidean"]

_LANES = 16  # columns that share one maximum; a power of two that divides the usual block


class Best:
    """The k largest values of each row, and where they stand, while the columns of a matrix pass by in blocks."""

    def __init__(self, rows: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        """Nothing has passed yet: every value is the least of its type, every place −1."""
        least = -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min
        self.values = torch.full((rows, k), least, dtype=dtype, device=device)
        self.places = torch.full((rows, k), -1, dtype=torch.int64, device=device)

    def see(self, rows: slice, scores: Tensor, first: int) -> None:
        """Take in the next columns of some rows.

        Args:
            rows: r of the rows.
            scores: [r, c], of columns `first` to `first + c`.
            first: the block's first column.
        """
        k = self.values.shape[1]
        values, places = _largest(scores, min(k, scores.shape[1]))
        values = torch.cat([self.values[rows], values], dim=1)
        places = torch.cat([self.places[rows], places + first], dim=1)
        self.values[rows], kept = values.topk(k, dim=1)
        self.places[rows] = places.gather(1, kept)


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their columns.

    Maxima over lanes of 16 columns come first: the k largest values lie in the k lanes with the largest maxima, and a
    maximum costs a tenth of a selection.
    """
    rows, columns = scores.shape
    if columns % _LANES or columns < 2 * _LANES * k:
        found = scores.topk(k, dim=1)
        return found.values, found.indices
    lanes = scores.view(rows, _LANES, columns // _LANES)
    lane = lanes.amax(dim=1).topk(k, dim=1, sorted=False).indices  # [rows, k]
    members = lanes.gather(2, lane.unsqueeze(1).expand(-1, _LANES, -1)).view(rows, _LANES * k)
    values, place = members.topk(k, dim=1)
    depth = torch.div(place, k, rounding_mode="floor")
    return values, depth * (columns // _LANES) + lane.gather(1, place % k)


def parts(length: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


@torch.no_grad()
def nearest(
    queries: Tensor, points: Tensor, k: int, metric: Metric = "cosine", rows: int = 1024, columns: int = 4096
) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query, exactly.

    Points are chosen by matrix products in 32 bits, then their distances are measured from the differences, so that a
    duplicate lies at 0 and not at the noise of the product. Points that this noise cannot tell apart may change places
    at the k-th; equal distances are told by place.

    Args:
        queries: Float [q, d].
        points: Float [n, d], on the queries' device; may be a memory map, it is read once, block by block.
        k: neighbours wanted, at most n.
        metric: "euclidean", or "cosine", whose distance is 1 − cosine; a zero vector is at 1 from all.
        rows: queries compared at a time.
        columns: points compared at a time; memory beside the input is about 4 · columns · (d + rows) bytes.

    Returns:
        Distances Float32 [q, k], ascending, and the points' places Int64 [q, k].

    Raises:
        ValueError: shapes that do not fit, or k not in 1 … n.
    """
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1] or not 1 <= k <= len(points):
        raise ValueError(
            f"queries {tuple(queries.shape)}, points {tuple(points.shape)}, k={k}: wanted [q, d], [n, d] and 1 ≤ k ≤ n"
        )
    sought = _scaled(queries, metric)
    best = Best(len(sought), k, torch.float32, sought.device)
    for there in parts(len(points), columns):
        block = _scaled(points[there], metric)
        half = (
            block.norm(dim=1).square_().mul_(-0.5) if metric == "euclidean" else None
        )  # |q − p|² = |q|² − 2 (q·p − |p|²/2)
        for here in parts(len(sought), rows):
            scores = sought[here] @ block.T if half is None else torch.addmm(half, sought[here], block.T)
            best.see(here, scores, there.start)
    return _measured(sought, points, best.places, metric, rows)


def _scaled(vectors: Tensor, metric: Metric) -> Tensor:
    whole = vectors.float()
    if metric == "euclidean":
        return whole
    scale: Tensor = whole.norm(dim=1, keepdim=True).clamp_min_(1e-12).reciprocal_()
    return whole * scale  # a quarter of the price of dividing each number


def _measured(sought: Tensor, points: Tensor, places: Tensor, metric: Metric, rows: int) -> tuple[Tensor, Tensor]:
    """Distances of the chosen points from differences, and both in the order of distance, then of place."""
    places = places.sort(dim=1).values
    distances = torch.empty(places.shape, dtype=torch.float32, device=places.device)
    step = max(1, rows // places.shape[1])
    for here in parts(len(sought), step):
        chosen = _scaled(points[places[here].flatten()], metric).view(*places[here].shape, -1)
        squares = (chosen - sought[here].unsqueeze(1)).square().sum(dim=2)
        distances[here] = squares.sqrt() if metric == "euclidean" else squares / 2
    distances, order = distances.sort(dim=1, stable=True)
    return distances, places.gather(1, order)
