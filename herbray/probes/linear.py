"""A fitted linear probe, and the probabilities that it gives, computed block by block when they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


class Rows(Protocol):
    """Features [n, d] that are read by indices of rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""

    def __getitem__(self, rows: Any, /) -> npt.NDArray[np.float32]:  # noqa: ANN401  (indices or a slice)
        """Some rows."""


Features = npt.NDArray[np.float32] | Rows

_CELLS: Final = 2**21  # probabilities in memory at a time
_LEAST_CLASSES: Final = 64  # fewer at a time would standardise the rows too often


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Multinomial logistic regression on standardised features; predictions are computed in 64 bits.

    Attributes:
        coefficients: [c, d]; c is the number of classes, or 1 (that of class 1) if there are two.
        intercepts: [c].
        centre: [d], mean of the fitted rows.
        scale: [d], their standard deviation, or 1 where a feature is constant.
        converged: whether the solver reached its tolerance.
        iterations: of the solver.
    """

    coefficients: Floats
    intercepts: Floats
    centre: Floats
    scale: Floats
    converged: bool
    iterations: int

    @property
    def classes(self) -> int:
        """Number of classes."""
        return 2 if len(self.coefficients) == 1 else len(self.coefficients)

    def logits(self, features: npt.NDArray[np.float32], classes: slice = slice(None)) -> Floats:
        """Logits of some rows [m, d] for some of the columns: [m, c]."""
        points = (features - self.centre) / self.scale
        found: Floats = points @ self.coefficients[classes].T
        found += self.intercepts[classes]
        return found


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Probabilities [m, k] of some rows; at most `cells` of them are in memory at a time.

    Attributes:
        probe: the probe.
        features: [n, d].
        rows: [m] the rows of `features` to predict.
        cells: number of probabilities in a block.
    """

    probe: LinearProbe
    features: Features
    rows: Indices
    cells: int = _CELLS

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of classes."""
        return len(self.rows), self.probe.classes

    def by_rows(self) -> Iterator[tuple[slice, Floats]]:
        """Blocks of rows: places in `rows` and probabilities [b, k], which add up to 1."""
        for part in _slices(len(self.rows), self.cells // self.probe.classes):
            logits = self.probe.logits(self.features[self.rows[part]])
            yield part, _expit(logits) if logits.shape[1] == 1 else _softmax(logits)

    def by_classes(self) -> Iterator[tuple[slice, Floats]]:
        """Blocks of classes, and their probabilities for all rows: [m, b]."""
        if len(self.rows) * self.probe.classes <= self.cells or self.probe.classes == 2:
            yield slice(0, self.probe.classes), self.dense()
            return
        level = np.concatenate([_log_sums(self.probe.logits(self.features[rows])) for rows in self._row_parts()])
        for part in _slices(self.probe.classes, max(_LEAST_CLASSES, self.cells // len(self.rows))):
            blocks = [self.probe.logits(self.features[rows], part) for rows in self._row_parts()]
            yield part, np.exp(np.concatenate(blocks) - level[:, None])

    def predict(self) -> Indices:
        """The most probable class of each row: [m]; the first of equally probable ones."""
        parts = [block.argmax(axis=1) for _, block in self.by_rows()]
        return np.concatenate(parts) if parts else np.empty(0, np.intp)

    def dense(self) -> Floats:
        """All probabilities [m, k]: for few classes."""
        blocks = [block for _, block in self.by_rows()]
        return np.concatenate(blocks) if blocks else np.empty(self.shape)

    def _row_parts(self) -> Iterator[Indices]:
        return (self.rows[part] for part in _slices(len(self.rows), self.cells // self.probe.classes))


def _slices(length: int, size: int) -> Iterator[slice]:
    step = max(1, size)
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _softmax(logits: Floats) -> Floats:
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def _log_sums(logits: Floats) -> Floats:
    """Logarithm of the sum of exponentials of each row."""
    largest = logits.max(axis=1)
    found: Floats = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return found


def _expit(logits: Floats) -> Floats:
    """Probabilities [b, 2] from the logits [b, 1] of class 1."""
    small = np.exp(-np.abs(logits))
    rare = small / (1.0 + small)
    one = np.where(logits > 0, 1.0 - rare, rare)
    zero = np.where(logits > 0, rare, 1.0 - rare)
    return np.hstack([zero, one])
