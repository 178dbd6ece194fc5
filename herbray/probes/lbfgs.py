"""L-BFGS on many functions at once (Liu & Nocedal 1989), with the steps and the tolerances of SciPy's L-BFGS-B.

A function that has reached its tolerance is no longer evaluated. Functions wait for each other's line searches, which
rarely take a second step.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from herbray.probes.line_search import LineSearch, Point

_MEMORY: Final = 10  # pairs of steps and changes of gradient
_MOST_TRIALS: Final = 50  # of one line search
_LEAST_GAIN: Final = 64 * 2.0**-52  # relative; smaller gains are rounding errors


class Functions(Protocol):
    """A functions of p variables each."""

    def measure(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Values Float64 [A] and gradients Float64 [A, p] at `state` [A, p]."""

    def select(self, kept: Tensor) -> "Functions":
        """Some of the functions."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Where the functions were left.

    Attributes:
        state: Float64 [A, p].
        value: Float64 [A].
        converged: Bool [A], whether the tolerance was reached, or, in 64 bits, the value no longer falls.
        iterations: Int64 [A].
        evaluations: Int64 [A].
    """

    state: Tensor
    value: Tensor
    converged: Tensor
    iterations: Tensor
    evaluations: Tensor


@dataclass
class _Place:
    """A point of each function that is not finished, with value and gradient."""

    state: Tensor
    value: Tensor
    slope: Tensor

    def select(self, kept: Tensor) -> "_Place":
        return _Place(self.state[kept], self.value[kept], self.slope[kept])


def minimise(functions: Functions, start: Tensor, tol: float, most: int) -> Minima:
    """Minimise each function.

    Args:
        functions: A functions.
        start: Float64 [A, p].
        tol: a function is finished when the largest entry of its gradient is at most this value.
        most: maximum number of iterations.
    """
    many = len(start)
    numbers = torch.arange(many, device=start.device)
    found = Minima(
        start.clone(),
        torch.zeros(many, dtype=torch.float64),
        torch.zeros(many, dtype=torch.bool),
        torch.zeros(many, dtype=torch.int64),
        torch.ones(many, dtype=torch.int64),
    )
    place = _Place(start, *functions.measure(start))
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_MEMORY)
    gained = torch.ones(many, dtype=torch.bool, device=start.device)
    for number in range(most + 1):
        done = place.slope.abs().amax(dim=1) <= tol
        over = done | ~gained | (number == most)
        if over.any():
            settled = done | ~gained if _small_type(functions) is torch.float64 else done
            _keep(found, numbers[over], place.select(over), settled[over], number)
            left = ~over
            numbers, place, functions = numbers[left], place.select(left), functions.select(left)
            pairs = deque(((s[left], y[left], r[left]) for s, y, r in pairs), maxlen=_MEMORY)
        if not len(numbers):
            break
        place, gained = _advance(functions, place, pairs, found.evaluations, numbers.cpu())
    return found


def _keep(found: Minima, numbers: Tensor, place: _Place, done: Tensor, iterations: int) -> None:
    """Write the functions that are finished into the result."""
    found.state[numbers] = place.state
    rows = numbers.cpu()
    found.value[rows], found.converged[rows] = place.value.cpu(), done.cpu()
    found.iterations[rows] = iterations


def _advance(
    functions: Functions, place: _Place, pairs: deque[tuple[Tensor, Tensor, Tensor]], counts: Tensor, rows: Tensor
) -> tuple[_Place, Tensor]:
    """The places after one iteration, and whether each value is lower; the iteration's pair is added to `pairs`."""
    direction = -_multiply_inverse(place.slope, pairs)
    ahead, steps = _search_lines(functions, place, direction, first=not pairs, counts=counts, rows=rows)
    small = pairs[0][0].dtype if pairs else _small_type(functions)
    change = ahead.slope - place.slope
    step = direction * steps.unsqueeze(1)
    curvature = _dot(step, change)
    rho = torch.where(curvature > 2.0**-52 * _dot(change, change), 1.0 / curvature, 0.0)
    pairs.append((step.to(small), change.to(small), rho))
    gain = place.value - ahead.value
    largest = torch.maximum(place.value.abs(), ahead.value.abs()).clamp(min=1.0)
    return ahead, gain > _LEAST_GAIN * largest


def _small_type(functions: Functions) -> torch.dtype:
    """The type of the memory: that of the products."""
    rows = getattr(functions, "rows", None)
    return torch.float64 if rows is None else rows.dtype


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Scalar products [A] of two [A, p]."""
    found: Tensor = torch.linalg.vecdot(left, right)
    return found


def _multiply_inverse(slope: Tensor, pairs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The product of the inverse Hessian that the pairs approximate with the gradient: Float64 [A, p]."""
    if not pairs:
        return slope.clone()
    found = slope.to(pairs[0][0].dtype)
    shares = []
    for step, change, rho in reversed(pairs):
        share = rho * _dot(step, found).double()
        shares.append(share)
        found = found - share.to(found.dtype).unsqueeze(1) * change
    step, change, rho = pairs[-1]
    scale = torch.where(rho > 0, 1.0 / (rho * _dot(change, change).double()), 1.0)
    found = found * scale.to(found.dtype).unsqueeze(1)
    for (step, change, rho), share in zip(pairs, reversed(shares), strict=True):
        left = share - rho * _dot(change, found).double()
        found = found + left.to(found.dtype).unsqueeze(1) * step
    return found.double()


def _search_lines(
    functions: Functions, place: _Place, direction: Tensor, *, first: bool, counts: Tensor, rows: Tensor
) -> tuple[_Place, Tensor]:
    """The places at the end of the line searches, and the steps [A]."""
    slopes = _dot(place.slope, direction).tolist()
    lengths = direction.norm(dim=1).tolist()
    steps = [1.0 / length if first and length else 1.0 for length in lengths]
    values = place.value.tolist()
    searches = [LineSearch(Point(0.0, v, s), t) for v, s, t in zip(values, slopes, steps, strict=True)]
    ahead = _Place(place.state.clone(), place.value.clone(), place.slope.clone())
    open_ = list(range(len(steps)))
    for _ in range(_MOST_TRIALS):
        trial = _try_steps(functions, place, direction, steps, open_, len(steps))
        at = torch.tensor(open_, device=direction.device)
        ahead.state[at], ahead.value[at], ahead.slope[at] = trial.state, trial.value, trial.slope
        counts[rows[open_]] += 1
        here = zip(open_, trial.value.tolist(), _dot(trial.slope, direction[at]).tolist(), strict=True)
        again = [(n, nxt) for n, v, s in here if (nxt := searches[n].judge(Point(steps[n], v, s))) is not None]
        for number, step in again:
            steps[number] = step
        open_ = [number for number, _ in again]
        if not open_:
            break
    return ahead, torch.tensor(steps, dtype=torch.float64, device=direction.device)


def _try_steps(
    functions: Functions, place: _Place, direction: Tensor, steps: Sequence[float], open_: Sequence[int], many: int
) -> _Place:
    at = torch.tensor(open_, device=direction.device)
    chosen = functions if len(open_) == many else functions.select(at)
    length = torch.tensor([steps[number] for number in open_], dtype=torch.float64, device=direction.device)
    state = place.state[at] + length.unsqueeze(1) * direction[at]
    return _Place(state, *chosen.measure(state))
