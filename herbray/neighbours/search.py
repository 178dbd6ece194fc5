"""Nearest neighbours by cosine: exact, a block of rows at a time, on a GPU where there is one and it pays.

A cosine is told apart to a millionth, and equal ones go by row number, so that the result does not depend on blocks,
threads or device. Products in 32 bits choose a few more candidates than are wanted, and products in 64 bits order them.
The error of a product in 32 bits has a known bound: a row whose last neighbour is not nearer than that bound allows for
the rows that were not chosen is compared with all rows in 64 bits. So is, at once, a row that wants many neighbours.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from herbray.neighbours.selection import largest, ordered

Indices = npt.NDArray[np.intp]
Features = npt.NDArray[np.float32] | Tensor

STEPS: Final = 10**6
"""A cosine is told apart to a millionth: more would be the noise of features in 32 bits."""

_CELLS: Final = 2**22  # cosines held at a time
_COLUMNS: Final = 4096  # rows that a block is compared with at a time
_CHUNK: Final = 512  # rows converted to 64 bits at a time: they stay in a core's cache
_GPU_BLOCKS: Final = 16  # a GPU takes blocks so many times as large: to launch small ones costs more than the products
_SPARE: Final = 8  # candidates beyond the neighbours wanted
_MANY: Final = 160  # of n rows; to order more than n / 160 candidates costs more than all products in 64 bits
_SAMPLE: Final = 1024  # rows, about, whose mean is taken off
_EVEN: Final = 1e30  # lengths between this and its inverse can be divided by in 32 bits
_ROUNDING: Final = 2.0**-24  # of a number in 32 bits
_GPU_WORK: Final = 2**36  # multiplications that take a CPU about a second; less does not pay for the way to the GPU


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest other rows of some rows; where fewer than `k` may be neighbours, the rest is masked out.

    Attributes:
        rows: [m] the rows that ask.
        neighbours: [m, k] row numbers, nearest first; equally near ones by number.
        cosine: [m, k] similarity, to a millionth.
        valid: [m, k] False where there is no further neighbour.
    """

    rows: Indices
    neighbours: Indices
    cosine: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]


def nearest(
    features: Features,
    units: Indices,
    k: int | Indices,
    asked: Indices | None = None,
    *,
    device: str | None = None,
    cells: int = _CELLS,
) -> Iterator[Near]:
    """Each row's nearest rows of other units.

    Memory beside the features is about 24 bytes · `cells` and 20 bytes a row; on a GPU sixteen times as much for
    the cells, and the features lie there once more.

    Args:
        features: [n, d], finite; a row of zeros is at cosine 0 to all. An array may be a memory map.
        units: [n] what a row may not find: rows of its own unit, such as its gathering. `np.arange(n)` leaves out the
            row alone.
        k: neighbours, of all rows alike or [n] of each; a block gives as many as its row that wants most.
        asked: [m] the rows that ask; None: every row.
        device: "cpu" or "cuda"; None: where a tensor lies already, else the GPU if the work is worth the way there.
        cells: cosines held at a time, on a GPU sixteen times as many.

    Yields:
        Blocks of the rows that ask, in their order; where `k` differs, rows that want few come first.

    Raises:
        ValueError: shapes that do not fit, or a k below 1.
    """
    n, wanted = len(features), np.broadcast_to(np.asarray(k), (len(features),))
    if features.ndim != 2 or units.shape != (n,) or wanted.min(initial=1) < 1:
        raise ValueError(
            f"features {tuple(features.shape)}, units {tuple(units.shape)}, k from {wanted.min(initial=1)}: "
            "wanted [n, d], [n] and k ≥ 1"
        )
    rows = np.arange(n) if asked is None else asked
    rows = rows[np.argsort(wanted[rows], kind="stable")]
    points = _measured(features, units, _device(features, len(rows), device))
    cells *= _blocks(points.units.device)
    few = int(np.searchsorted(wanted[rows], n // _MANY - _SPARE, side="right")) if points.even else 0
    for part in _parts(few, max(1, cells // min(n, _COLUMNS * _blocks(points.units.device)))):
        yield _block(points, rows[:few][part], int(wanted[rows[:few][part]].max()), cells, exact=False)
    for part in _parts(len(rows) - few, max(1, cells // n)):
        yield _block(points, rows[few:][part], int(wanted[rows[few:][part]].max()), cells, exact=True)


def all_nearest(features: Features, units: Indices, k: int, asked: Indices | None = None) -> Near:
    """The blocks of `nearest` put together: for small k, [m, k] at once."""
    blocks = list(nearest(features, units, k, asked))
    parts = (np.concatenate([getattr(block, name) for block in blocks]) for name in Near.__dataclass_fields__)
    return Near(*parts)


def vote(near: Near, codes: Indices) -> Indices:
    """The class [m] that most neighbours bear; among equally many the nearer ones, summed, win, then the smaller code.

    A row without neighbours gets -1.

    Args:
        near: of m rows.
        codes: [n] the classes, at least 0.
    """
    row, place = np.nonzero(near.valid)
    voter = codes[near.neighbours[row, place]].astype(np.int64)
    nearness = np.rint(near.cosine[row, place] * STEPS) + STEPS
    classes = int(codes.max(initial=0)) + 1
    ballots, ballot = np.unique(row * classes + voter, return_inverse=True)
    asker, named = np.divmod(ballots, classes)
    order = np.lexsort((-named, np.bincount(ballot, nearness), np.bincount(ballot), asker))
    winner = np.full(len(near.rows), -1, dtype=np.intp)
    winner[asker[order]] = named[order]  # of each row the last one stays
    return winner


@dataclass(frozen=True, eq=False)
class _Points:
    """The rows, and what is needed to compare them as unit vectors x, y … of which a common `centre` c is taken off.

    x·y = (x - c)·(y - c) + c·(y - c) + c·x, and the last term is the same for every y. Where all rows are much alike,
    x - c and y - c are short, and so is the error of their product.

    Attributes:
        features: Float32 [n, d], as they were given.
        units: Int32 [n].
        scale: Float64 [n], 1 / length; 0 of a row of zeros.
        centre: Float32 [d].
        along: Float32 [n], c·(y - c).
        reach: the length of the longest y - c.
        even: whether 32 bits can hold the unit vectors.
    """

    features: Tensor
    units: Tensor
    scale: Tensor
    centre: Tensor
    along: Tensor
    reach: float
    even: bool

    def unit(self, rows: Tensor) -> Tensor:
        """The unit vectors of some rows: Float64 [r, d]."""
        return self.features[rows].double() * self.scale[rows].unsqueeze(1)


@torch.no_grad()
def _measured(features: Features, units: Indices, device: torch.device) -> _Points:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
        points = torch.as_tensor(features).to(device, torch.float32)
        codes = torch.unique(torch.as_tensor(units).to(device), return_inverse=True)[1].int()
    sample = points[:: max(1, len(points) // _SAMPLE)].double()
    centre = torch.nn.functional.normalize(sample, dim=1, eps=1e-300).mean(dim=0).float()
    wide = centre.double()
    length, along = torch.empty(2, len(points), dtype=torch.float64, device=device)
    for part in _parts(len(points), _CHUNK * _blocks(device)):
        block = points[part].double()
        length[part], along[part] = block.norm(dim=1), block @ wide
    scale = torch.where(length > 0, 1 / length, 0.0)
    along = along * scale - wide @ wide
    reach = (1 - wide @ wide - 2 * along).clamp(min=0).max().sqrt()
    even = ((scale == 0) | ((scale < _EVEN) & (scale > 1 / _EVEN))).all()
    return _Points(points, codes, scale, centre, along.float(), float(reach), bool(even))


def _device(features: Features, rows: int, wanted: str | None) -> torch.device:
    """Where to compare: a GPU must have room for the features, and enough to do."""
    if wanted is not None:
        return torch.device(wanted)
    if isinstance(features, Tensor) and features.is_cuda:
        return features.device
    size = features.shape[0] * features.shape[1]
    if rows * size < _GPU_WORK or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda" if 5 * size + 2**31 < torch.cuda.mem_get_info()[0] else "cpu")


def _blocks(device: torch.device) -> int:
    """How many times as large as on a CPU a block is."""
    return 1 if device.type == "cpu" else _GPU_BLOCKS


@torch.no_grad()
def _block(points: _Points, rows: Indices, k: int, cells: int, *, exact: bool) -> Near:
    here, n = torch.from_numpy(rows).to(points.units.device), len(points.units)
    with _full_precision(here.device):
        k = min(k, n)
        keys = _compare_all(points, here, k) if exact else _compare_candidates(points, here, k, cells)
    valid = keys.isfinite()
    whole = keys.masked_fill(~valid, 0).long()
    steps = torch.div(whole.neg(), n, rounding_mode="floor").neg_()  # see `_key`
    cosine = torch.where(valid, steps.double() / STEPS, -1.0)
    return Near(rows, (steps * n - whole).cpu().numpy(), cosine.cpu().numpy(), valid.cpu().numpy())


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Neither TF32 nor half precision, whatever the caller or the environment has switched on."""
    products = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in products]
    try:
        for each in products:
            each.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for each, precision in zip(products, before, strict=True):
            each.fp32_precision = precision


def _key(cosine: Tensor, places: Tensor, n: int) -> Tensor:
    """A whole number, exact in 64 bits, that orders by cosine to a millionth, then by place, and holds both."""
    return cosine.mul_(STEPS).round_().mul_(n).sub_(places)


def _compare_all(points: _Points, rows: Tensor, k: int) -> Tensor:
    """Keys [r, k] of the nearest rows, nearest first, all cosines in 64 bits; -inf where there is none."""
    n = len(points.units)
    here = points.unit(rows)
    cosine = torch.empty(len(rows), n, dtype=torch.float64, device=rows.device)
    for columns in _parts(n, _CHUNK * _blocks(rows.device)):
        torch.mm(here, points.features[columns].double().T, out=cosine[:, columns])
    keys = _key(cosine.mul_(points.scale), torch.arange(n, device=rows.device), n)
    _leave_out_own(keys, points.units[rows], points.units)
    return ordered(keys, k)


def _compare_candidates(points: _Points, rows: Tensor, k: int, cells: int) -> Tensor:
    """As `_compare_all`; rows whose candidates might not hold all neighbours are compared with all."""
    n = len(points.units)
    here = points.unit(rows)
    short = (here - points.centre).float()
    scores, places = _candidates(points, short, rows, min(k + _SPARE, n))
    keys = _key(_cosines(points, here, places), places, n).masked_fill_(scores == -torch.inf, -torch.inf)
    keys = ordered(keys, k)
    error = _ROUNDING * points.reach * ((here.shape[1] + 8) * short.norm(dim=1).double() + 8)
    left = scores[:, -1] + error + here @ points.centre.double()  # what a row that was not chosen may reach
    unsure = ((keys[:, -1] <= (left * STEPS).round() * n) & scores[:, -1].isfinite()).nonzero().flatten()
    for part in _parts(len(unsure), max(1, cells // n)):
        keys[unsure[part]] = _compare_all(points, rows[unsure[part]], k)
    return keys


def _candidates(points: _Points, short: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest products in 32 bits and their columns, [r, k], descending; -inf where there are fewer rows."""
    units = points.units[rows]
    best, kept = torch.empty(len(rows), 0, device=rows.device), rows.new_empty(len(rows), 0)
    for columns in _parts(len(points.units), _COLUMNS * _blocks(rows.device)):
        there = points.features[columns] * points.scale[columns].float().unsqueeze(1) - points.centre
        scores = torch.addmm(points.along[columns], short, there.T)
        _leave_out_own(scores, units, points.units[columns])
        values, places = largest(scores, min(k, scores.shape[1]))
        best, kept = torch.cat([best, values], dim=1), torch.cat([kept, places + columns.start], dim=1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        kept = kept.gather(1, order)
    return best, kept


def _leave_out_own(scores: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Put -inf where a row [r] and a column [c] are of one unit."""
    # Few blocks hold any. To look first saves a CPU two passes over the scores; a GPU would have to wait for the look.
    if scores.device.type != "cpu" or torch.isin(columns, rows).any():
        scores.masked_fill_(rows.unsqueeze(1) == columns, -torch.inf)


def _cosines(points: _Points, here: Tensor, places: Tensor) -> Tensor:
    """Cosines Float64 [r, k] of unit vectors [r, d] with the rows at `places` [r, k]."""
    cosine = torch.empty(places.shape, dtype=torch.float64, device=places.device)
    cells = 2**17 if places.device.type == "cpu" else _CELLS * _GPU_BLOCKS  # of 64 bits: what fits into a core's cache
    for part in _parts(len(here), max(1, cells // max(1, places.shape[1] * here.shape[1]))):
        there = points.features[places[part].flatten()].double().view(-1, places.shape[1], here.shape[1])
        torch.bmm(there, here[part].unsqueeze(2), out=cosine[part].unsqueeze(2))
    return cosine.mul_(points.scale[places])


def _parts(length: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
