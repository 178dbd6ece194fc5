"""Uncertainty of metrics: bootstrap intervals over specimens, and paired comparisons of encoders.

The probe, its folds and the neighbours stay fixed; only the specimens scored are resampled. An interval therefore
shows how a metric would vary with other specimens of the same kind, for these encoders. Sheets of one gathering, or
leaves of one sheet, are drawn together: they are alike, and intervals that treated them as independent would be too
narrow (cluster bootstrap: Davison & Hinkley 1997, section 3.8).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.stats import t

from herbray import schema
from herbray.config import Spec
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings, Floats, Objects
from herbray.tasks.interface.outcomes import Outcome, Score


class Bootstrap(Spec):
    """Settings of intervals and comparisons.

    Attributes:
        resamples: number of times the gatherings are drawn with replacement (Efron 1979); a specimen of unknown
            gathering counts as a gathering. 0: no intervals.
        level: confidence level of the percentile interval.
    """

    resamples: Annotated[int, Field(ge=0, le=100_000)] = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95

    @property
    def percentiles(self) -> tuple[float, float]:
        """The percentiles at the lower and upper end of an interval."""
        tail = 50.0 * (1.0 - self.level)
        return tail, 100.0 - tail


@dataclass(frozen=True, eq=False)
class Sample:
    """One metric of one encoder."""

    identity: schema.Identity
    outcome: Outcome


def group_by_gathering(outcomes: Sequence[Outcome], embeddings: Embeddings) -> list[Outcome]:
    """The same outcomes, with the gathering as resampling unit."""
    found, units = [], dict[int, Objects]()
    for each in outcomes:
        key = id(each.specimen_id)  # the metrics of a task share their ids
        if key not in units:
            rows = pc.index_in(pa.array(each.specimen_id, pa.large_string()), embeddings.specimen_id.column).to_numpy()
            named = embeddings.gathering[rows]
            units[key] = np.where(embeddings.gathering.codes[rows] < 0, each.specimen_id, named)
        found.append(replace(each, unit=units[key]))
    return found


def bootstrap_intervals(outcomes: Sequence[Outcome], settings: Bootstrap, seed: int = PAPER_SEED) -> list[Score]:
    """Percentile interval of the mean of each outcome, at fold -1: metric "accuracy" → `accuracy_low`, `_high`.

    The interval is that of the pooled metric (`Outcome.mean`), which may differ from the mean over folds in the third
    decimal place. A metric of a single gathering has no interval.
    """
    found = []
    for outcome in outcomes if settings.resamples else ():
        if len(set(outcome.units)) < 2:
            continue
        columns = outcome.value[:, None], outcome.weight[:, None]
        means = resampled_means(*columns, settings.resamples, seed, outcome.units)
        for end, value in zip(("low", "high"), np.nanpercentile(means[:, 0], settings.percentiles), strict=True):
            metric = f"{outcome.metric}_{end}"
            bound = (
                min(1.0, float(value)) if outcome.metric.endswith("auroc") else float(value)
            )  # see `detect.auroc_contributions`
            found.append(Score(outcome.task, outcome.split, outcome.level, -1, metric, bound))
    return found


def resampled_means(values: Floats, weights: Floats, resamples: int, seed: int, units: Objects | None = None) -> Floats:
    """Weighted means of columns over units drawn with replacement; all columns share the draws.

    Args:
        values: [n, c].
        weights: [n, c], at least 0.
        resamples: number of draws, each of as many units as there are.
        seed: seed of the draws, which depend only on the seed and the units.
        units: [n] rows of one unit are drawn together; None: each row is a unit.

    Returns:
        [resamples, c]; NaN where all rows drawn have weight 0.
    """
    generator = np.random.default_rng(seed)
    columns = values.shape[1]
    parts = np.hstack([values * weights, weights])
    if units is not None:
        _, codes = np.unique(units.astype(str), return_inverse=True)
        sums_of = np.zeros((codes.max() + 1, 2 * columns))
        np.add.at(sums_of, codes, parts)
        parts = sums_of
    n = len(parts)
    sums = np.empty((resamples, 2 * columns))
    for row in range(resamples):
        sums[row] = np.bincount(generator.integers(0, n, n), minlength=n) @ parts
    total = sums[:, columns:]
    return np.divide(sums[:, :columns], total, out=np.full_like(total, np.nan), where=total > 0)


def compare_kinds(samples: Sequence[Sample], settings: Bootstrap, seed: int = PAPER_SEED) -> pa.Table:
    """Compare every pair of kinds of encoder in one metric, on the specimens that all encoders share.

    Encoders of one kind are its runs, whether they differ in their seed or only in the code that trained them.

    Each resample draws the gatherings once, for all runs together, and takes the difference of the two kinds' means.
    There are too few runs to resample them (three would show only two thirds of their variance). If a kind has several
    seeds, the variation among seeds is therefore added as Student's t, scaled by the standard error of the difference
    from the variance between runs, pooled over both kinds. An interval thus covers the choice of specimens and of the
    seed. One kind is better if the interval excludes 0. Intervals are not widened for the number of comparisons.

    Args:
        samples: samples of one task, split, level and metric, one for each encoder.
        settings: settings of the bootstrap; without resamples nothing is compared.
        seed: seed of the draws.

    Returns:
        `schema.COMPARISON`, kinds in the order of model and start weights.
    """
    samples = sorted(samples, key=_sort_key)
    kinds = list(dict.fromkeys(sample.identity.kind for sample in samples))
    shared = _shared_specimens(samples)
    unit = dict(zip(samples[0].outcome.specimen_id, samples[0].outcome.units, strict=True)) if samples else {}
    units = np.array([unit[name] for name in shared], dtype=object)
    if not settings.resamples or len(kinds) < 2 or len(set(units)) < 2:
        return schema.COMPARISON.empty_table()
    values, weights = _align(samples, shared)
    every = np.vstack(
        [_weighted_means(values, weights), resampled_means(values, weights, settings.resamples, seed, units)]
    )
    columns = {kind: [at for at, sample in enumerate(samples) if sample.identity.kind == kind] for kind in kinds}
    rows = []
    for number, (a, b) in enumerate(combinations(kinds, 2)):
        runs = every[:, columns[a]], every[:, columns[b]]
        difference = runs[0].mean(axis=1) - runs[1].mean(axis=1)
        sides = [[samples[at].identity for at in columns[kind]] for kind in (a, b)]
        seeded = [each[0] for side, each in zip(sides, runs, strict=True) if _has_seeds(side)]
        difference[1:] += _seed_variation(seeded, settings.resamples, [seed, number])
        row = _difference_columns(difference, samples[0].outcome, settings)
        if row:
            rows.append(row | _kind_columns("a", sides[0]) | _kind_columns("b", sides[1]) | {"specimens": len(shared)})
    return pa.Table.from_pylist(rows, schema=schema.COMPARISON)


def _sort_key(sample: Sample) -> tuple[str, str, str, int, str]:
    identity = sample.identity
    return identity.model, identity.init, identity.kind, identity.seed, identity.encoder


def _kind_columns(end: str, encoders: Sequence[schema.Identity]) -> dict[str, Any]:
    """The columns that identify one of two kinds, given its encoders."""
    names = ("model", "objective", "kind", "init", "start_kind")
    side: dict[str, Any] = {f"{name}_{end}": getattr(encoders[0], name) for name in names}
    return side | {f"seeds_{end}": len(encoders), f"encoders_{end}": [each.encoder for each in encoders]}


def _shared_specimens(samples: Sequence[Sample]) -> list[str]:
    ids = [set(sample.outcome.specimen_id) for sample in samples]
    return sorted(set.intersection(*ids)) if ids else []


def _align(samples: Sequence[Sample], shared: Sequence[str]) -> tuple[Floats, Floats]:
    place = {name: at for at, name in enumerate(shared)}
    values, weights = np.zeros((2, len(shared), len(samples)))
    for column, sample in enumerate(samples):
        known = np.array([name in place for name in sample.outcome.specimen_id], dtype=bool)
        rows = [place[name] for name in sample.outcome.specimen_id[known]]
        values[rows, column], weights[rows, column] = sample.outcome.value[known], sample.outcome.weight[known]
    return values, weights


def _weighted_means(values: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=0)
    means: Floats = np.divide((values * weights).sum(axis=0), total, out=np.full_like(total, np.nan), where=total > 0)
    return means


def _has_seeds(encoders: Sequence[schema.Identity]) -> bool:
    """Whether another seed would give another encoder; a single frozen encoder has no seed."""
    return encoders[0].objective != schema.UNTRAINED or len(encoders) > 1


def _seed_variation(seeded: Sequence[Floats], resamples: int, seed: list[int]) -> Floats:
    """Variation of the difference of two kinds' means among training seeds: [resamples], around 0.

    Args:
        seeded: mean of each run [runs], for each of the two kinds that has a seed; pretrained weights have none.
        resamples: number of evenly spaced quantiles of the distribution; the seed determines their order.
        seed: seed of the order.

    Returns:
        Zeros if every kind has a single run: the variation among seeds is then unknown, and not covered.
    """
    freedom = sum(len(runs) - 1 for runs in seeded)
    if not freedom:
        return np.zeros(resamples)
    variance = sum(((runs - runs.mean()) ** 2).sum() for runs in seeded) / freedom
    error = np.sqrt(variance * sum(1.0 / len(runs) for runs in seeded))
    quantiles = t.ppf((np.arange(resamples) + 0.5) / resamples, freedom)
    drawn: Floats = error * np.random.default_rng(seed).permutation(quantiles)
    return drawn


def _difference_columns(difference: Floats, outcome: Outcome, settings: Bootstrap) -> dict[str, Any] | None:
    """The columns of the difference; None if it is undefined in too many resamples."""
    if np.isnan(difference[0]) or np.isnan(difference[1:]).mean() > 0.5:
        return None
    low, high = np.nanpercentile(difference[1:], settings.percentiles)
    better = "undecided"
    if low > 0 or high < 0:
        better = "a" if (low > 0) != outcome.lower_is_better else "b"
    keys = {name: getattr(outcome, name) for name in ("task", "split", "level", "metric", "lower_is_better")}
    return keys | {"difference": float(difference[0]), "low": float(low), "high": float(high), "better": better}
