"""Exact search for the rows nearest to vectors that are not among the rows, such as a photograph's embedding.

Products in 32 bits score every row. The error of a score has a known bound, so every row whose score comes within twice
the bound of the k-th best is a candidate, and no other row can be among the k nearest. Products in 64 bits order the
candidates. Cosines are rounded to a millionth and ties are ordered by row number, as in `herbray.neighbours.search`.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from herbray.neighbours.precision import use_full_precision
from herbray.neighbours.search import COSINE_STEPS, FLOAT32_ROUNDING, MAX_LENGTH, Indices, cut_into_slices
from herbray.neighbours.selection import select_largest

_SCORES: Final = 2**24  # in memory at a time: 64 MiB
_CHUNK_ROWS: Final = 2**15  # rows read at a time
_WIDE_ROWS: Final = 2**9  # rows converted to 64 bits at a time; they fit into a core's cache


@dataclass(frozen=True, eq=False)
class NearestTo:
    """The rows nearest to some vectors; entries are masked out if fewer than `k` rows may be found.

    Attributes:
        rows: [m, k] row numbers, nearest first; equally near rows in the order of their numbers.
        cosine: [m, k] similarity, rounded to a millionth.
        valid: [m, k] False where there is no row.
    """

    rows: Indices
    cosine: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]


class VectorIndex:
    """Rows that are prepared once and searched many times, on the CPU.

    Memory beyond the rows: 12 bytes a row, and 64 MiB during a search.

    Args:
        features: Float32 [n, d], finite; may be a memory map. A row of zeros has cosine 0 to everything.

    Raises:
        ValueError: `features` is not a matrix.
    """

    def __init__(self, features: npt.NDArray[np.float32]) -> None:
        """Measure the rows."""
        if features.ndim != 2:
            raise ValueError(f"features have shape {features.shape}; expected [n, d], one row per specimen")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
            self._features = torch.from_numpy(np.asarray(features, np.float32))
        parts = [self._features[part].double().norm(dim=1) for part in cut_into_slices(len(features), _WIDE_ROWS)]
        length = torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)
        self._scale = torch.where(length > 0, 1 / length, 0.0)
        self._narrow = self._scale.float()
        self._fits = bool(((length == 0) | ((length < MAX_LENGTH) & (length > 1 / MAX_LENGTH))).all())

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._features)

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self._features.shape[1])

    @torch.no_grad()
    def search(
        self, vectors: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> NearestTo:
        """Find the k rows with the largest cosine to each vector.

        Args:
            vectors: [m, d], finite; to a vector of zeros every row has cosine 0.
            k: number of rows to find for each vector.
            allowed: [n] or [m, n] which rows may be found; None: all.

        Raises:
            ValueError: the shapes do not match, a vector is not finite, or k is below 1.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim or k < 1:
            raise ValueError(f"vectors {vectors.shape}, k {k}: expected [m, {self.dim}] and k ≥ 1")
        if not np.isfinite(vectors).all():
            raise ValueError("a vector has values that are not finite")
        k = min(k, len(self))
        found = NearestTo(
            np.zeros((len(vectors), k), np.intp), np.full((len(vectors), k), -1.0), np.zeros((len(vectors), k), bool)
        )
        wide = torch.nn.functional.normalize(torch.from_numpy(vectors.astype(np.float64)), dim=1, eps=1e-300)
        mask = None if allowed is None else torch.from_numpy(np.broadcast_to(allowed, (len(vectors), len(self))).copy())
        with use_full_precision(self._features.device):
            for part in cut_into_slices(len(vectors), max(1, _SCORES // max(1, len(self)))) if k else ():
                self._search_block(part, wide[part], None if mask is None else mask[part], found)
        return found

    def _search_block(self, part: slice, vectors: Tensor, allowed: Tensor | None, found: NearestTo) -> None:
        """Write the nearest rows of a block of unit vectors, Float64 [b, d], into the result."""
        scores = self._score(vectors.float())
        if allowed is not None:
            scores.masked_fill_(~allowed, -torch.inf)
        k = found.rows.shape[1]
        best = select_largest(scores, k)[0][:, -1]
        error = FLOAT32_ROUNDING * (vectors.shape[1] + 8)  # of a score; unit vectors
        cut = torch.where(best.isfinite(), best - 2 * error - 1 / COSINE_STEPS, torch.finfo(torch.float32).min)
        for number in range(len(vectors)):
            places = (scores[number] >= cut[number]).nonzero().flatten()
            rows, cosine = self._order(vectors[number], places, k)
            row = part.start + number
            found.rows[row, : len(rows)], found.cosine[row, : len(rows)] = rows.numpy(), cosine.numpy()
            found.valid[row, : len(rows)] = True

    def _score(self, vectors: Tensor) -> Tensor:
        """Approximate cosines Float32 [b, n] of unit vectors."""
        scores = torch.empty(len(vectors), len(self))
        for rows in cut_into_slices(len(self), _CHUNK_ROWS):
            if self._fits:
                torch.mm(vectors, self._features[rows].T, out=scores[:, rows])
                scores[:, rows] *= self._narrow[rows]
            else:
                unit = (self._features[rows].double() * self._scale[rows].unsqueeze(1)).float()
                torch.mm(vectors, unit.T, out=scores[:, rows])
        return scores

    def _order(self, vector: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k nearest of some rows, nearest first, and their rounded cosines."""
        steps = torch.empty(len(places), dtype=torch.float64)
        for part in cut_into_slices(len(places), _WIDE_ROWS):
            rows = places[part]
            steps[part] = (self._features[rows].double() @ vector) * self._scale[rows]
        steps.mul_(COSINE_STEPS).round_()
        order = torch.argsort(steps, descending=True, stable=True)[:k]  # the places ascend
        return places[order], steps[order] / COSINE_STEPS
