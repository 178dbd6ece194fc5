"""The loss of logistic regressions and its gradient, many regressions on the same rows at once, block by block.

A block of rows is multiplied once with the weights of all regressions. Probabilities of more than a block are never in
memory: the block's residuals are multiplied with its rows at once. Products are in the type of the rows; sums over
blocks are in 64 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

_CELLS: Final = {"cpu": 2**16, "cuda": 2**26}  # logits in memory at a time, if the blocks have rows enough
_GOOD_ROWS: Final = 512  # with as many, a product is fast and a block fits into a core's cache
_LEAST_ROWS: Final = 128
_MOST_CELLS: Final = 2**22  # in blocks of `_GOOD_ROWS`
_FLOOR: Final = -60.0  # below it, a probability is 0 in effect, and CPUs are slow with the tiny numbers


@dataclass(frozen=True, eq=False)
class Regressions:
    """A regressions on the same n rows, which differ in the labels, in the weights of rows and in the scale.

    The weights of rows add up to 1 for each regression; rows of weight 0 are not fitted. With two classes there is one
    column of coefficients, that of class 1; with more there are k.

    Attributes:
        rows: [n, d], in the type in which products are computed.
        labels: Int64 [A, n], 0 to k-1.
        weights: Float64 [A, n].
        centre: Float64 [A, d], subtracted from rows before they are multiplied with coefficients.
        scale: Float64 [A, d], by which rows are then divided.
        penalty: Float64 [A], factor of half the squared length of the coefficients; the intercept is free.
        classes: k.
        cells: logits in memory at a time; None: as many as suit the device.
    """

    rows: Tensor
    labels: Tensor
    weights: Tensor
    centre: Tensor
    scale: Tensor
    penalty: Tensor
    classes: int
    cells: int | None = None

    @property
    def columns(self) -> int:
        """Number of columns of coefficients of a regression."""
        return 1 if self.classes == 2 else self.classes

    def select(self, kept: Tensor) -> "Regressions":
        """Some of the regressions."""
        return replace(
            self,
            labels=self.labels[kept],
            weights=self.weights[kept],
            centre=self.centre[kept],
            scale=self.scale[kept],
            penalty=self.penalty[kept],
        )

    def measure(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [A] and gradient [A, c·(d + 1)] at coefficients and, in the last place, intercepts of all columns.

        Args:
            state: Float64 [A, c·(d + 1)].
        """
        wide = state.view(len(state), self.columns, -1)
        coefficients = wide[..., :-1]
        raw = coefficients / self.scale.unsqueeze(1)  # of rows that are neither centred nor scaled
        offset = wide[..., -1] - (raw @ self.centre.unsqueeze(2)).squeeze(2)
        loss, slope, total = self._sum_blocks(raw, offset)
        slope -= total.unsqueeze(2) * self.centre.unsqueeze(1)
        slope /= self.scale.unsqueeze(1)
        slope += self.penalty.view(-1, 1, 1) * coefficients
        loss += self.penalty / 2.0 * coefficients.square().sum(dim=(1, 2))
        return loss, torch.cat([slope, total.unsqueeze(2)], dim=2).flatten(1)

    def _sum_blocks(self, raw: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted loss [A], gradient [A, c, d] of `raw` and sum of residuals [A, c]."""
        many, columns, width = raw.shape
        right, shift = raw.to(self.rows.dtype).view(-1, width).T.contiguous(), offset.to(self.rows.dtype).flatten()
        loss = torch.zeros(many, dtype=torch.float64, device=raw.device)
        slope, total = torch.zeros_like(raw), torch.zeros_like(offset)
        residuals = _binary_residuals if self.classes == 2 else _residuals
        for part in self._blocks():
            here = self.rows[part]
            logits = torch.addmm(shift, here, right)
            weights = self.weights[:, part].T
            loss += residuals(logits.view(-1, many, columns), self.labels[:, part].T, weights)
            slope += (logits.T @ here).view_as(slope)
            total += logits.sum(dim=0).view_as(total)
        return loss, slope, total

    def _blocks(self) -> Iterator[slice]:
        cells = self.cells or _CELLS[self.rows.device.type]
        columns = len(self.labels) * self.columns
        least = _GOOD_ROWS if _GOOD_ROWS * columns <= _MOST_CELLS else _LEAST_ROWS
        size = max(least, cells // columns)
        return (slice(start, start + size) for start in range(0, len(self.rows), size))


def _residuals(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Replace logits [b, A, k] by weighted residuals, and return the weighted loss [A]."""
    labels, small = labels.unsqueeze(2), weights.to(logits.dtype).unsqueeze(2)
    logits -= logits.amax(dim=2, keepdim=True)
    own = logits.gather(2, labels)
    logits.clamp_(min=_FLOOR)
    total = logits.exp_().sum(dim=2, keepdim=True)
    logits *= small / total
    logits.scatter_add_(2, labels, -small)
    return (weights * (total.log() - own).squeeze(2)).sum(dim=0)


def _binary_residuals(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """As `_residuals`, for the logits [b, A, 1] of class 1 of two."""
    found = logits.squeeze(2)
    truth = labels.to(found.dtype)
    loss = torch.nn.functional.softplus(found) - truth * found
    found.sigmoid_().sub_(truth).mul_(weights.to(found.dtype))
    return (weights * loss).sum(dim=0)
