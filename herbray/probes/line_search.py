"""The line search of Moré and Thuente (1994, doi 10.1145/192115.192132), which SciPy's L-BFGS-B uses, too."""

import math
from dataclasses import dataclass
from typing import Final

_DECREASE: Final = 1e-3  # the constants of L-BFGS-B
_CURVATURE: Final = 0.9
_WIDTH: Final = 0.1
_LARGEST: Final = 1e10


@dataclass(frozen=True)
class Point:
    """A step along a direction, with the value and the slope of the function there."""

    step: float
    value: float
    slope: float

    def lower(self, slope: float) -> "Point":
        """The point of the same function minus a line of this slope."""
        return Point(self.step, self.value - self.step * slope, self.slope - slope)


class LineSearch:
    """Searches along one direction for a step with sufficient decrease and a flatter slope.

    Call `judge` with each evaluated point until it returns None; the last point is the result.
    """

    def __init__(self, start: Point, step: float) -> None:
        """Begin at step 0; `step` is the first trial."""
        self.start, self.best, self.other = start, start, start
        self.bracketed, self.first_stage = False, True
        self.width, self.width_before = _LARGEST, 2.0 * _LARGEST
        self.low, self.high = 0.0, 5.0 * step

    def judge(self, here: Point) -> float | None:
        """The next step to try; None if `here` is good enough, or no better step can be found."""
        line = _DECREASE * self.start.slope
        enough = here.value <= self.start.value + here.step * line
        self.first_stage = self.first_stage and not (enough and here.slope >= 0)
        if (enough and abs(here.slope) <= -_CURVATURE * self.start.slope) or self._is_stuck(here.step):
            return None
        if self.first_stage and not enough and here.value <= self.best.value:
            best, other, step, bracketed = _choose_step(
                self.best.lower(line), self.other.lower(line), here.lower(line), self.bracketed, self.low, self.high
            )
            best, other = best.lower(-line), other.lower(-line)
        else:
            best, other, step, bracketed = _choose_step(
                self.best, self.other, here, self.bracketed, self.low, self.high
            )
        self.best, self.other, self.bracketed = best, other, bracketed
        return self._narrow(step)

    def _is_stuck(self, step: float) -> bool:
        """Whether the bracket is as narrow as rounding allows."""
        narrow = not self.low < step < self.high or self.high - self.low <= _WIDTH * self.high
        return (self.bracketed and narrow) or step >= _LARGEST

    def _narrow(self, step: float) -> float:
        """Update the bounds of the next step, and force the bracket to shrink."""
        best, other = self.best.step, self.other.step
        if self.bracketed:
            if abs(other - best) >= 0.66 * self.width_before:
                step = best + 0.5 * (other - best)
            self.width_before, self.width = self.width, abs(other - best)
            self.low, self.high = min(best, other), max(best, other)
        else:
            self.low, self.high = step + 1.1 * (step - best), step + 4.0 * (step - best)
        step = min(step, _LARGEST)
        return best if self._is_stuck(step) else step


def _choose_step(
    best: Point, other: Point, here: Point, bracketed: bool, low: float, high: float
) -> tuple[Point, Point, float, bool]:
    """The interval after `here`, the next step, and whether the interval brackets a minimum (MINPACK-2, `dcstep`)."""
    opposite = here.slope * math.copysign(1.0, best.slope) < 0
    if here.value > best.value:
        cubic, secant = _fit_cubic(best, here, best), _fit_parabola(best, here)
        near = abs(cubic - best.step) <= abs(secant - best.step)
        return best, here, cubic if near else cubic + (secant - cubic) / 2.0, True
    if opposite:
        cubic, secant = _fit_cubic(here, best, here), _fit_secant(here, best)
        step = cubic if abs(cubic - here.step) > abs(secant - here.step) else secant
        return here, best, step, True
    if abs(here.slope) < abs(best.slope):
        return here, other, _extrapolate(best, other, here, bracketed, low, high), bracketed
    if bracketed:
        return here, other, _fit_cubic(here, other, here), True
    return here, other, high if here.step > best.step else low, False


def _extrapolate(best: Point, other: Point, here: Point, bracketed: bool, low: float, high: float) -> float:
    """The step where the slope has the same sign and is flatter at `here` than at `best`."""
    ahead = here.step > best.step
    cubic, secant = _fit_cubic(here, best, here, beyond=high if ahead else low), _fit_secant(here, best)
    nearer = abs(cubic - here.step) < abs(secant - here.step)
    if not bracketed:
        return min(max(secant if nearer else cubic, low), high)
    limit = here.step + 0.66 * (other.step - here.step)
    step = cubic if nearer else secant
    return min(limit, step) if ahead else max(limit, step)


def _fit_cubic(near: Point, far: Point, origin: Point, beyond: float | None = None) -> float:
    """The minimum of the cubic through two points and their slopes; `beyond` if it lies on the other side of `near`."""
    theta = 3.0 * (near.value - far.value) / (far.step - near.step) + near.slope + far.slope
    scale = max(abs(theta), abs(near.slope), abs(far.slope))
    root = scale * math.sqrt(max(0.0, (theta / scale) ** 2 - near.slope / scale * (far.slope / scale)))
    root = root if far.step > near.step else -root
    ratio_of = (root - near.slope + theta) / (root - near.slope + root + far.slope)
    if beyond is not None and not (ratio_of < 0 and root != 0):
        return beyond
    return origin.step + ratio_of * (far.step - near.step)


def _fit_parabola(near: Point, far: Point) -> float:
    """The minimum of the parabola through two points and the slope of the first."""
    length = far.step - near.step
    return near.step + near.slope / ((near.value - far.value) / length + near.slope) / 2.0 * length


def _fit_secant(near: Point, far: Point) -> float:
    """The step at which a line through the two slopes is 0."""
    return near.step + near.slope / (near.slope - far.slope) * (far.step - near.step)
