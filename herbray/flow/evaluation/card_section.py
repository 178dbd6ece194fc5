"""The section of a model card that shows an encoder's results."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray.flow.markdown import escape, markdown_table

MIN_FAMILY_SPECIMENS: Final = 20
"""Fewest specimens of a family whose accuracy is shown: with fewer specimens the figure is too uncertain."""

FAMILIES_LISTED: Final = 5
_MAX_ROWS: Final = 80

_Key = tuple[str, str, str, str]


def format_section(
    results: pa.Table, outcomes: pa.Table, families: Mapping[str, str], metric: _Key, shards: str
) -> str:
    """The section in Markdown: weak families, leakage of the institution, then every figure that has an interval.

    Args:
        results: results of one encoder, in `schema.RESULT`.
        outcomes: outcomes of the same encoder, in `schema.OUTCOME`.
        families: specimen → family; specimens without a family are missing.
        metric: task, split, level and metric by which families are ranked.
        shards: fingerprint of the shards of the evaluation set.
    """
    figures = _average_folds(results)
    parts = [f"Evaluated on shards {escape(shards)}; intervals are bootstrap intervals over gatherings."]
    parts += [_describe_promotion(metric)] if metric in figures else []
    parts += ["**Known weak families.** " + _describe_weak_families(outcomes, families, metric)]
    parts += ["**Leakage.** " + _describe_leakage(figures)]
    rows = [
        (*key, f"{value:.4g}", _format_interval(figures, key))
        for key, value in sorted(figures.items())
        if (*key[:3], f"{key[3]}_low") in figures
    ]
    if rows:
        parts += [markdown_table(("task", "split", "level", "metric", "value", "interval"), rows[:_MAX_ROWS])]
    if len(rows) > _MAX_ROWS:
        parts += [f"{len(rows) - _MAX_ROWS} further figures are in `results/results.parquet` of the run."]
    return "\n\n".join(parts)


def _describe_promotion(metric: _Key) -> str:
    return (
        f"**Used for promotion.** `{'/'.join(metric)}` also decides which version is champion. For a version that was "
        f"chosen by this metric, figures on split {escape(metric[1])} are too optimistic; the section Promotion lists "
        "the comparisons made on these specimens and the level at which each was tested."
    )


def _average_folds(results: pa.Table) -> dict[_Key, float]:
    """The mean of each figure over folds."""
    found: dict[_Key, list[float]] = defaultdict(list)
    for row in results.to_pylist():
        found[row["task"], row["split"], row["level"], row["metric"]].append(row["value"])
    return {key: float(np.mean(values)) for key, values in found.items()}


def _format_interval(figures: Mapping[_Key, float], key: _Key) -> str:
    ends = [figures.get((*key[:3], f"{key[3]}_{end}")) for end in ("low", "high")]
    low, high = ends
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _describe_weak_families(outcomes: pa.Table, families: Mapping[str, str], metric: _Key) -> str:
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
    means = [
        (_weighted_mean(pairs), name, len(pairs))
        for name, pairs in values.items()
        if len(pairs) >= MIN_FAMILY_SPECIMENS
    ]
    if not means:
        return f"Not known: no family has {MIN_FAMILY_SPECIMENS} specimens in {wanted}."
    least = not rows["lower_is_better"][0].as_py()
    means.sort(key=lambda each: (each[0] if least else -each[0], each[1]))
    worst = "; ".join(
        f"{escape(name)} {mean:.3f} of {count:,} specimens" for mean, name, count in means[:FAMILIES_LISTED]
    )
    return f"{wanted} is worst in: {worst}. Of {len(means):,} families with {MIN_FAMILY_SPECIMENS} specimens or more."


def _weighted_mean(pairs: list[tuple[float, float]]) -> float:
    values, weights = np.array(pairs).T
    return float(values @ weights / weights.sum()) if weights.sum() > 0 else float(values.mean())


def _describe_leakage(figures: Mapping[_Key, float]) -> str:
    """How well the institution can be predicted from the embedding."""
    sentences = []
    for split in sorted({key[1] for key in figures if key[0] == "leakage"}):
        found: dict[str, Any] = {key[3]: value for key, value in figures.items() if key[:2] == ("leakage", split)}
        if "accuracy" in found:
            ends = _format_interval(figures, ("leakage", split, "institution", "accuracy"))
            chance = found.get("genus_majority", found.get("majority", float("nan")))
            sentences.append(
                f"On {escape(split)} a probe names the institution of a sheet with accuracy {found['accuracy']:.3f}"
                f"{f' ({ends})' if ends else ''}; from the genus alone the accuracy is {chance:.3f}."
            )
        if "excess" in found:
            points = 100 * found["excess"]
            sentences.append(f"Neighbours share the institution {points:+.1f} percentage points more than by chance.")
    return " ".join(sentences) or "Not measured: add the task `leakage` to the evaluation."
