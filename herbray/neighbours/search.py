"""Exact nearest neighbours by cosine, computed in blocks of rows, on a GPU if there is one and the work is worth it.

Cosines are rounded to a millionth, and ties are ordered by row number, so that the result does not depend on blocks,
threads or device. Products in 32 bits select a few more candidates than needed; products in 64 bits order
them. The error of a 32-bit product has a known bound. If a row that was not selected could, within this bound, be
nearer than the last neighbour found, the query is compared with all rows in 64 bits. Queries for many neighbours always
are.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from herbray.neighbours.precision import use_full_precision
from herbray.neighbours.selection import select_largest, sort_largest

Indices = npt.NDArray[np.intp]
Features = npt.NDArray[np.float32] | Tensor

COSINE_STEPS: Final = 10**6
"""Cosines are rounded to a millionth; finer differences are noise of 32-bit features."""

_MAX_COSINES: Final = 2**22  # cosines in memory at a time
_BLOCK_COLUMNS: Final = 4096  # rows compared with a block at a time
_CHUNK_ROWS: Final = 512  # rows converted to 64 bits at a time; they fit into a core's cache
_GPU_BLOCKS: Final = 16  # a GPU takes blocks this many times larger: launching small ones dominates
_EXTRA_CANDIDATES: Final = 8  # candidates beyond the number of neighbours
_CANDIDATE_DIVISOR: Final = 160  # ordering more than n / 160 candidates costs more than all products in 64 bits
_CENTRE_ROWS: Final = 1024  # approximate number of rows whose mean is subtracted
MAX_LENGTH: Final = 1e30  # 32 bits suffice to divide by lengths between this value and its inverse
FLOAT32_ROUNDING: Final = 2.0**-24  # relative rounding error in 32 bits
_MIN_GPU_WORK: Final = 2**36  # multiplications that take a CPU about a second; less work is not worth the copy to a GPU


@dataclass(frozen=True, eq=False)
class NearestRows:
    """The nearest other rows of some query rows; entries are masked out if fewer than `k` rows can be neighbours.

    Attributes:
        rows: [m] the query rows.
        neighbours: [m, k] row numbers, nearest first; equally near rows in the order of their numbers.
        cosine: [m, k] similarity, rounded to a millionth.
        valid: [m, k] False where there is no neighbour.
    """

    rows: Indices
    neighbours: Indices
    cosine: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]


def find_nearest(
    features: Features,
    units: Indices,
    k: int | Indices,
    queries: Indices | None = None,
    *,
    device: str | None = None,
    max_cosines: int = _MAX_COSINES,
) -> Iterator[NearestRows]:
    """Find the nearest rows of other units for each query row.

    Memory use beyond the features is about 24 bytes · `max_cosines` plus 20 bytes a row; on a GPU, sixteen
    times as much for the cosines, and a copy of the features.

    Args:
        features: [n, d], finite; a row of zeros has cosine 0 to all rows. An array may be a memory map.
        units: [n] the unit of each row, such as its gathering; rows of one unit are never neighbours. `np.arange(n)`
            excludes only the row itself.
        k: number of neighbours, one number for all rows or [n] numbers; a block has as many as its largest k.
        queries: [m] the query rows; None: every row.
        device: "cpu" or "cuda"; None: the device of a tensor, else the GPU if the work is worth the copy.
        max_cosines: cosines in memory at a time; sixteen times as many on a GPU.

    Yields:
        Blocks of query rows, in their order; if `k` differs between rows, rows with small `k` come first.

    Raises:
        ValueError: the shapes do not match, or a k is below 1.
    """
    n, wanted = len(features), np.broadcast_to(np.asarray(k), (len(features),))
    if features.ndim != 2 or units.shape != (n,) or wanted.min(initial=1) < 1:
        raise ValueError(
            f"features {tuple(features.shape)}, units {tuple(units.shape)}, k from {wanted.min(initial=1)}: "
            "expected [n, d], [n] and k ≥ 1"
        )
    rows = np.arange(n) if queries is None else queries
    rows = rows[np.argsort(wanted[rows], kind="stable")]
    points = _prepare_points(features, units, _choose_device(features, len(rows), device))
    factor = _block_factor(points.units.device)
    max_cosines *= factor
    few = np.searchsorted(wanted[rows], n // _CANDIDATE_DIVISOR - _EXTRA_CANDIDATES, side="right")
    border = int(few) if points.fits_float32 else 0  # rows before it are searched by candidates
    for part in cut_into_slices(border, max(1, max_cosines // min(n, _BLOCK_COLUMNS * factor))):
        block = rows[:border][part]
        yield _search_block(points, block, int(wanted[block].max()), max_cosines, exact=False)
    for part in cut_into_slices(len(rows) - border, max(1, max_cosines // n)):
        block = rows[border:][part]
        yield _search_block(points, block, int(wanted[block].max()), max_cosines, exact=True)


def find_all_nearest(features: Features, units: Indices, k: int, queries: Indices | None = None) -> NearestRows:
    """Concatenate the blocks of `find_nearest`: all [m, k] results at once, for small k."""
    blocks = list(find_nearest(features, units, k, queries))
    parts = (np.concatenate([getattr(block, name) for block in blocks]) for name in NearestRows.__dataclass_fields__)
    return NearestRows(*parts)


@dataclass(frozen=True, eq=False)
class _Points:
    """The rows, prepared for comparison as unit vectors x, y, … with a common `centre` c subtracted.

    x·y = (x - c)·(y - c) + c·(y - c) + c·x, and the last term is the same for every y. If all rows are similar, x - c
    and y - c are short, and the error of their product is small.

    Attributes:
        features: Float32 [n, d], the original features.
        units: Int32 [n].
        scale: Float64 [n], 1 / length; 0 for a row of zeros.
        centre: Float32 [d].
        along: Float32 [n], c·(y - c).
        reach: length of the longest y - c.
        fits_float32: whether the unit vectors can be computed in 32 bits.
    """

    features: Tensor
    units: Tensor
    scale: Tensor
    centre: Tensor
    along: Tensor
    reach: float
    fits_float32: bool

    def unit(self, rows: Tensor) -> Tensor:
        """Compute the unit vectors of some rows: Float64 [r, d]."""
        return self.features[rows].double() * self.scale[rows].unsqueeze(1)


@torch.no_grad()
def _prepare_points(features: Features, units: Indices, device: torch.device) -> _Points:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
        points = torch.as_tensor(features).to(device, torch.float32)
        codes = torch.unique(torch.as_tensor(units).to(device), return_inverse=True)[1].int()
    sample = points[:: max(1, len(points) // _CENTRE_ROWS)].double()
    centre = torch.nn.functional.normalize(sample, dim=1, eps=1e-300).mean(dim=0).float()
    wide = centre.double()
    length, along = torch.empty(2, len(points), dtype=torch.float64, device=device)
    for part in cut_into_slices(len(points), _CHUNK_ROWS * _block_factor(device)):
        block = points[part].double()
        length[part], along[part] = block.norm(dim=1), block @ wide
    scale = torch.where(length > 0, 1 / length, 0.0)
    along = along * scale - wide @ wide
    reach = (1 - wide @ wide - 2 * along).clamp(min=0).max().sqrt()
    fits_float32 = ((scale == 0) | ((scale < MAX_LENGTH) & (scale > 1 / MAX_LENGTH))).all()
    return _Points(points, codes, scale, centre, along.float(), float(reach), bool(fits_float32))


def _choose_device(features: Features, rows: int, wanted: str | None) -> torch.device:
    """Choose the device: a GPU only if it has memory for the features and the work is worth the copy."""
    if wanted is not None:
        return torch.device(wanted)
    if isinstance(features, Tensor) and features.is_cuda:
        return features.device
    size = features.shape[0] * features.shape[1]
    if rows * size < _MIN_GPU_WORK or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda" if 5 * size + 2**31 < torch.cuda.mem_get_info()[0] else "cpu")


def _block_factor(device: torch.device) -> int:
    """How many times larger a block is than on a CPU."""
    return 1 if device.type == "cpu" else _GPU_BLOCKS


@torch.no_grad()
def _search_block(points: _Points, rows: Indices, k: int, max_cosines: int, *, exact: bool) -> NearestRows:
    here, n = torch.from_numpy(rows).to(points.units.device), len(points.units)
    with use_full_precision(here.device):
        k = min(k, n)
        keys = _compare_all(points, here, k) if exact else _compare_candidates(points, here, k, max_cosines)
    valid = keys.isfinite()
    whole = keys.masked_fill(~valid, 0).long()
    steps = torch.div(whole.neg(), n, rounding_mode="floor").neg_()  # see `_make_keys`
    cosine = torch.where(valid, steps.double() / COSINE_STEPS, -1.0)
    return NearestRows(rows, (steps * n - whole).cpu().numpy(), cosine.cpu().numpy(), valid.cpu().numpy())


def _make_keys(cosine: Tensor, places: Tensor, n: int) -> Tensor:
    """Pack rounded cosine and row number into one whole number, exact in 64 bits, that sorts by cosine, then by row."""
    return cosine.mul_(COSINE_STEPS).round_().mul_(n).sub_(places)


def _compare_all(points: _Points, rows: Tensor, k: int) -> Tensor:
    """Compute keys [r, k] of the nearest rows, nearest first, from all cosines in 64 bits; -inf if there is none."""
    n = len(points.units)
    here = points.unit(rows)
    cosine = torch.empty(len(rows), n, dtype=torch.float64, device=rows.device)
    for columns in cut_into_slices(n, _CHUNK_ROWS * _block_factor(rows.device)):
        torch.mm(here, points.features[columns].double().T, out=cosine[:, columns])
    keys = _make_keys(cosine.mul_(points.scale), torch.arange(n, device=rows.device), n)
    _mask_own_unit(keys, points.units[rows], points.units)
    return sort_largest(keys, k)


def _compare_candidates(points: _Points, rows: Tensor, k: int, max_cosines: int) -> Tensor:
    """Do what `_compare_all` does, on candidates; rows whose candidates may lack a neighbour are compared with all."""
    n = len(points.units)
    here = points.unit(rows)
    short = (here - points.centre).float()
    scores, places = _find_candidates(points, short, rows, min(k + _EXTRA_CANDIDATES, n))
    keys = _make_keys(_measure_cosines(points, here, places), places, n).masked_fill_(scores == -torch.inf, -torch.inf)
    keys = sort_largest(keys, k)
    error = FLOAT32_ROUNDING * points.reach * ((here.shape[1] + 8) * short.norm(dim=1).double() + 8)
    left = (
        scores[:, -1] + error + here @ points.centre.double()
    )  # largest possible cosine of a row that is not a candidate
    unsure = ((keys[:, -1] <= (left * COSINE_STEPS).round() * n) & scores[:, -1].isfinite()).nonzero().flatten()
    for part in cut_into_slices(len(unsure), max(1, max_cosines // n)):
        keys[unsure[part]] = _compare_all(points, rows[unsure[part]], k)
    return keys


def _find_candidates(points: _Points, short: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k largest products in 32 bits and their columns, [r, k], descending; -inf if there are fewer rows."""
    units = points.units[rows]
    best, kept = torch.empty(len(rows), 0, device=rows.device), rows.new_empty(len(rows), 0)
    for columns in cut_into_slices(len(points.units), _BLOCK_COLUMNS * _block_factor(rows.device)):
        there = points.features[columns] * points.scale[columns].float().unsqueeze(1) - points.centre
        scores = torch.addmm(points.along[columns], short, there.T)
        _mask_own_unit(scores, units, points.units[columns])
        values, places = select_largest(scores, min(k, scores.shape[1]))
        best, kept = torch.cat([best, values], dim=1), torch.cat([kept, places + columns.start], dim=1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        kept = kept.gather(1, order)
    return best, kept


def _mask_own_unit(scores: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Write -inf where a row [r] and a column [c] belong to the same unit."""
    # Few blocks hold such a pair: the check saves a CPU two passes over the scores. A GPU would have to wait for it.
    if scores.device.type != "cpu" or torch.isin(columns, rows).any():
        scores.masked_fill_(rows.unsqueeze(1) == columns, -torch.inf)


def _measure_cosines(points: _Points, here: Tensor, places: Tensor) -> Tensor:
    """Compute cosines Float64 [r, k] of unit vectors [r, d] with the rows at `places` [r, k]."""
    cosine = torch.empty(places.shape, dtype=torch.float64, device=places.device)
    on_cpu = places.device.type == "cpu"  # then 64-bit numbers that fit into a core's cache
    numbers = 2**17 if on_cpu else _MAX_COSINES * _GPU_BLOCKS
    for part in cut_into_slices(len(here), max(1, numbers // max(1, places.shape[1] * here.shape[1]))):
        there = points.features[places[part].flatten()].double().view(-1, places.shape[1], here.shape[1])
        torch.bmm(there, here[part].unsqueeze(2), out=cosine[part].unsqueeze(2))
    return cosine.mul_(points.scale[places])


def cut_into_slices(length: int, size: int) -> Iterator[slice]:
    """Return slices of at most `size` that cover `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
