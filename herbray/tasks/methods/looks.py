"""Repeated looks at one evaluation set: how sure the k-th comparison on it must be.

Specimens that judge one candidate after another favour some candidate by chance sooner or later. The k-th look is
therefore tested, one-sided, at alpha / (k (k + 1)), alpha being 1 less the level of the rule. These levels sum to alpha
over any number of looks, so the chance that any candidate that is no better than its champion is promoted is at most
alpha, however the candidates depend on each other (Bonferroni's inequality).
"""

import math
from dataclasses import dataclass

from scipy.stats import norm, t


@dataclass(frozen=True)
class Interval:
    """A difference with the ends of its interval."""

    value: float
    low: float
    high: float


def one_sided_error(level: float, look: int) -> float:
    """The chance of error at which a look is tested.

    Args:
        level: of the two-sided interval at the first look, in (0, 1), e.g. 0.95.
        look: from 1.

    Raises:
        ValueError: no such look.
    """
    if look < 1:
        raise ValueError(f"look {look}: the first look at an evaluation set is 1")
    return (1.0 - level) / (look * (look + 1))


def widen_interval(found: Interval, level: float, look: int, units: int) -> Interval:
    """A bootstrap interval with its ends moved out to what a look needs: those of level 1 - 2 `one_sided_error`.

    Percentiles so far out would take some hundred thousand resamples. Each end keeps its own distance from the value,
    and so the skewness that the bootstrap found, times the ratio of Student's quantile at the look to the normal one
    at the first, times sqrt(n / (n - 1)). The latter two mend what percentiles of few units lack (the expanded
    percentile interval: Hesterberg 2015, doi 10.1080/00031305.2015.1089789). With 20 candidates equal to the
    champion any was promoted in 3 to 5 % of simulations at level 0.95, for 10 to 200 gatherings of 1 or 4 sheets; by
    the ratio of normal quantiles in up to 13 %.

    Args:
        found: between the percentiles of the rule's level.
        level: of the rule.
        look: from 1.
        units: that were resampled, such as gatherings, at least 2.

    Raises:
        ValueError: no such look, or fewer than two units.
    """
    if units < 2:
        raise ValueError(f"{units} units: an interval takes two")
    usual = norm.isf(one_sided_error(level, 1))
    ratio = t.isf(one_sided_error(level, look), units - 1) / usual * math.sqrt(units / (units - 1))
    low, high = (found.value + ratio * (end - found.value) for end in (found.low, found.high))
    return Interval(found.value, float(low), float(high))
