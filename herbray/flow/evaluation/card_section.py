"""What an evaluation found of one encoder, as the section of its model card."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray.flow.markdown import escape, markdown_table

FAMILY_ROWS: Final = 20
"""Specimens that a family needs before its accuracy is told: with fewer it says little of the family."""

WEAKEST: Final = 5
_MOST_ROWS: Final = 80

_Key = tuple[str, str, str, str]


def findings(results: pa.Table, outcomes: pa.Table, families: Mapping[str, str], metric: _Key, shards: str) -> str:
    """The section: weak families, the herbarium's own trace, then every figure that has an interval.

    Args:
        results: of one encoder, in `schema.RESULT`.
        outcomes: of the same, in `schema.OUTCOME`.
        families: of specimens; those without one are left out.
        metric: task, split, level and metric by which families are judged.
        shards: fingerprint of the images that were evaluated.
    """
    figures = _figures(results)
    parts = [f"Evaluated on shards {escape(shards)}; intervals are bootstrap intervals over gatherings."]
    parts += [_promotion(metric)] if metric in figures else []
    parts += ["**Known weak families.** " + _weak(outcomes, families, metric)]
    parts += ["**Leakage.** " + _leakage(figures)]
    rows = [
        (*key, f"{value:.4g}", _interval(figures, key))
        for key, value in sorted(figures.items())
        if (*key[:3], f"{key[3]}_low") in figures
    ]
    if rows:
        parts += [markdown_table(("task", "split", "level", "metric", "value", "interval"), rows[:_MOST_ROWS])]
    if len(rows) > _MOST_ROWS:
        parts += [f"{len(rows) - _MOST_ROWS} figures more are in `results/results.parquet` of the run."]
    return "\n\n".join(parts)


def _promotion(metric: _Key) -> str:
    return (
        f"**Used for promotion.** `{'/'.join(metric)}` also decides which version is champion. For a version that was "
        f"chosen by it, figures on split {escape(metric[1])} are flattering; the section Promotion tells how many "
        "comparisons there were on these specimens, and at which level each was tested."
    )


def _figures(results: pa.Table) -> dict[_Key, float]:
    """Means over folds."""
    found: dict[_Key, list[float]] = defaultdict(list)
    for row in results.to_pylist():
        found[row["task"], row["split"], row["level"], row["metric"]].append(row["value"])
    return {key: float(np.mean(values)) for key, values in found.items()}


def _interval(figures: Mapping[_Key, float], key: _Key) -> str:
    ends = [figures.get((*key[:3], f"{key[3]}_{end}")) for end in ("low", "high")]
    low, high = ends
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _weak(outcomes: pa.Table, families: Mapping[str, str], metric: _Key) -> str:
    mask = pc.equal(outcomes["task"], metric[0])
    for name, value in zip(("split", "level", "metric"), metric[1:], strict=True):
        mask = pc.and_(mask, pc.equal(outcomes[name], value))
    rows = outcomes.filter(mask)
    wanted = f"`{'/'.join(metric)}`"
    if not rows.num_rows:
        return f"Not known: {wanted} was not measured."
    values: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows.select(["specimen_id", "value", "weight"]).to_pylist():
        if family := families.get(row["specimen_id"]):
            values[family].append((row["value"], row["weight"]))
    means = [(_mean(pairs), name, len(pairs)) for name, pairs in values.items() if len(pairs) >= FAMILY_ROWS]
    if not means:
        return f"Not known: no family has {FAMILY_ROWS} specimens that {wanted} asks about."
    least = not rows["lower_is_better"][0].as_py()
    means.sort(key=lambda each: (each[0] if least else -each[0], each[1]))
    told = "; ".join(f"{escape(name)} {mean:.3f} of {count:,} specimens" for mean, name, count in means[:WEAKEST])
    return f"{wanted} is worst in: {told}. Of {len(means):,} families with {FAMILY_ROWS} specimens or more."


def _mean(pairs: list[tuple[float, float]]) -> float:
    values, weights = np.array(pairs).T
    return float(values @ weights / weights.sum()) if weights.sum() > 0 else float(values.mean())


def _leakage(figures: Mapping[_Key, float]) -> str:
    """How far the institution can be read off the embedding."""
    told = []
    for split in sorted({key[1] for key in figures if key[0] == "leakage"}):
        found: dict[str, Any] = {key[3]: value for key, value in figures.items() if key[:2] == ("leakage", split)}
        if "accuracy" in found:
            ends = _interval(figures, ("leakage", split, "institution", "accuracy"))
            chance = found.get("genus_majority", found.get("majority", float("nan")))
            told.append(
                f"On {escape(split)} a probe names the institution of a sheet with accuracy {found['accuracy']:.3f}"
                f"{f' ({ends})' if ends else ''}; the genus alone gives {chance:.3f}."
            )
        if "excess" in found:
            told.append(f"Neighbours share the institution {100 * found['excess']:+.1f} % points above chance.")
    return " ".join(told) or "Not measured: add the task `leakage` to the evaluation."
