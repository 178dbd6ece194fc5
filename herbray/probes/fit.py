"""Fit many linear probes on rows of one matrix: those with few classes together, those with many one after the other.

Each fit starts at 0, as in scikit-learn, and takes the steps that scikit-learn's L-BFGS takes, up to rounding. No fit
starts from another's result: at scikit-learn's tolerance, with many classes, a solution of other rows is within the
tolerance at once, and would remember the labels of the rows that are held out.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from herbray.neighbours.precision import use_full_precision
from herbray.probes.lbfgs import Minima, minimise
from herbray.probes.linear import Features, Indices, LinearProbe
from herbray.probes.objective import Regressions

_COLUMNS: Final = {"cpu": 80, "cuda": 4096}  # coefficients of a row's feature that are fitted together
_CHUNK: Final = 4096  # rows standardised at a time
_MIN_GPU_WORK: Final = 2**34  # multiplications of an iteration that a CPU takes a quarter of a second for
_TIGHT: Final = 1e-6  # a smaller tolerance is below the rounding error of a gradient in 32 bits
_SMALL: Final = 2**25  # multiplications of an iteration that are not worth 32 bits


@dataclass(frozen=True, eq=False)
class Fit:
    """What one probe is fitted on.

    Attributes:
        rows: [m] rows of the features, ascending.
        labels: [m] their classes.
    """

    rows: Indices
    labels: Indices


@dataclass(frozen=True)
class Solver:
    """Settings of the fits.

    Attributes:
        classes: k; every class occurs in every fit, and k is at least 2.
        C: inverse strength of the L2 penalty, as in scikit-learn.
        balanced: whether classes are weighted by their inverse frequency.
        tol: a fit is finished when the largest entry of its gradient is at most this value.
        max_iter: maximum number of iterations.
        device: "cpu" or "cuda"; None: the GPU if there is one and the work is worth the copy.
    """

    classes: int
    C: float = 1.0
    balanced: bool = True
    tol: float = 1e-4
    max_iter: int = 5000
    device: str | None = None


def fit_probes(features: Features, fits: Sequence[Fit], solver: Solver) -> Iterator[LinearProbe]:
    """Fit the probes, in order. Memory beyond the features: a copy of them, and that of a group of probes.

    Args:
        features: [n, d], finite.
        fits: rows and labels of each probe.
        solver: settings.
    """
    columns = 1 if solver.classes == 2 else solver.classes
    device = _choose_device(features.shape, columns, solver.device)
    size = max(1, _COLUMNS[device.type] // columns)
    for start in range(0, len(fits), size):
        yield from _fit_group(features, fits[start : start + size], solver, device)


def _choose_device(shape: tuple[int, ...], columns: int, wanted: str | None) -> torch.device:
    if wanted is not None:
        return torch.device(wanted)
    enough = shape[0] * shape[1] * columns >= _MIN_GPU_WORK
    return torch.device("cuda" if enough and torch.cuda.is_available() else "cpu")


@torch.no_grad()
def _fit_group(features: Features, fits: Sequence[Fit], solver: Solver, device: torch.device) -> list[LinearProbe]:
    cells = None
    while True:
        try:
            with use_full_precision(device):
                regressions, shift, scale = _prepare(features, fits, solver, device, cells)
                start = torch.zeros(
                    len(fits), regressions.columns * (features.shape[1] + 1), dtype=torch.float64, device=device
                )
                found = minimise(regressions, start, solver.tol, solver.max_iter)
                return _to_probes(found, regressions, shift, scale)
        except torch.cuda.OutOfMemoryError:  # smaller blocks, then the CPU: a slower fit, not a failure
            torch.cuda.empty_cache()
            if cells == 2**20:
                device = torch.device("cpu")
            cells = None if device.type == "cpu" else 2**20


def _prepare(
    features: Features, fits: Sequence[Fit], solver: Solver, device: torch.device, cells: int | None
) -> tuple[Regressions, Tensor, Tensor]:
    """The regressions of a group on the rows that any of its fits uses, standardised; and mean and scale of the rows.

    Small fits are computed in 64 bits: they cost little, and then agree with scikit-learn's to nine decimal places.
    """
    used = fits[0].rows if len(fits) == 1 else np.unique(np.concatenate([fit.rows for fit in fits]))
    columns = 1 if solver.classes == 2 else solver.classes
    small = max(len(fit.rows) for fit in fits) * features.shape[1] * columns <= _SMALL
    kind = torch.float64 if small or solver.tol < _TIGHT else torch.float32
    rows, shift, scale = _standardise(features, used, kind, device)
    labels = torch.zeros(len(fits), len(used), dtype=torch.int64)
    weights = torch.zeros(len(fits), len(used), dtype=torch.float64)
    penalty = torch.empty(len(fits), dtype=torch.float64)
    for number, fit in enumerate(fits):
        places = torch.from_numpy(np.searchsorted(used, fit.rows))
        own = _row_weights(fit.labels, solver)
        labels[number, places] = torch.from_numpy(fit.labels.astype(np.int64))
        weights[number, places] = torch.from_numpy(own / own.sum())
        penalty[number] = 1.0 / (solver.C * own.sum())
    labels, weights, penalty = labels.to(device), weights.to(device), penalty.to(device)
    centre, spread = _moments(rows, weights > 0)
    return Regressions(rows, labels, weights, centre, spread, penalty, solver.classes, cells), shift, scale


def _row_weights(labels: Indices, solver: Solver) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    if not solver.balanced:
        return np.ones(len(labels))
    counts = np.bincount(labels, minlength=solver.classes)
    return (len(labels) / (solver.classes * np.maximum(counts, 1)))[labels]


def _standardise(
    features: Features, used: Indices, kind: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The used rows minus their mean, divided by their standard deviation; both Float64 [d]."""
    parts = [used[start : start + _CHUNK] for start in range(0, len(used), _CHUNK)]
    mean, variance = torch.zeros(2, features.shape[1], dtype=torch.float64)
    for part in parts:
        mean += _wide(features, part).sum(dim=0) / len(used)
    for part in parts:
        variance += (_wide(features, part) - mean).square().sum(dim=0) / len(used)
    scale = _scale(variance, mean, len(used))
    rows = torch.empty(len(used), features.shape[1], dtype=kind, device=device)
    for number, part in enumerate(parts):
        rows[number * _CHUNK : number * _CHUNK + len(part)] = ((_wide(features, part) - mean) / scale).to(kind)
    return rows, mean.to(device), scale.to(device)


def _wide(features: Features, rows: Indices) -> Tensor:
    """Some rows in 64 bits."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
        return torch.from_numpy(features[rows]).double()


def _scale(variance: Tensor, mean: Tensor, rows: int) -> Tensor:
    """The standard deviation; 1 where a feature is constant up to rounding, as in scikit-learn."""
    rounding = rows * 2.0**-52
    constant = variance <= rounding * variance + (rounding * mean) ** 2
    return torch.where(constant, 1.0, variance.sqrt())


def _moments(rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale, Float64 [A, d], of the chosen rows [A, n] of each regression."""
    if len(chosen) == 1:  # the rows are those that were standardised
        width = rows.shape[1]
        return rows.new_zeros(1, width, dtype=torch.float64), rows.new_ones(1, width, dtype=torch.float64)
    total = chosen.sum(dim=1, keepdim=True)
    first, second = torch.zeros(2, len(chosen), rows.shape[1], dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), _CHUNK):
        here, own = rows[start : start + _CHUNK].double(), chosen[:, start : start + _CHUNK].double()
        first += own @ here
        second += own @ here.square()
    mean = first / total
    return mean, _scale((second / total - mean.square()).clamp(min=0), mean, len(rows))


def _to_probes(found: Minima, regressions: Regressions, shift: Tensor, scale: Tensor) -> list[LinearProbe]:
    state = found.state.view(len(found.state), regressions.columns, -1)
    centre, spread = shift + regressions.centre * scale, regressions.scale * scale
    return [
        LinearProbe(
            own[:, :-1].cpu().numpy(),
            own[:, -1].cpu().numpy(),
            centre[number].cpu().numpy(),
            spread[number].cpu().numpy(),
            bool(found.converged[number]),
            int(found.iterations[number]),
        )
        for number, own in enumerate(state)
    ]
