"""What was measured about the suggestions, as a table, as lines for people, and as a figure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from herbray.report.figures.accuracy_coverage import Curve, write_accuracy_coverage
from herbray.tasks.naming.confidence import Threshold, Trust, draw_curve
from herbray.tasks.naming.learning import Namer
from herbray.tasks.naming.rank_model import NOTHING

_COLUMNS: Final = {
    "subject": pa.string(),  # "names" or "unknown names"
    "rank": pa.string(),
    "given": pa.string(),
    "names": pa.int64(),
    "sheets": pa.int64(),
    "accuracy": pa.float64(),
    "method": pa.string(),
    "brier_raw": pa.float64(),
    "brier_temperature": pa.float64(),
    "brier_isotonic": pa.float64(),
    "calibration_error_raw": pa.float64(),
    "calibration_error": pa.float64(),
    "threshold": pa.float64(),
    "coverage": pa.float64(),
    "accepted_accuracy": pa.float64(),
    "accepted_low": pa.float64(),
    "accepted_high": pa.float64(),
    "auroc": pa.float64(),
    "detected": pa.float64(),
    "false_alarms": pa.float64(),
}


def measured_table(namer: Namer) -> pa.Table:
    """One row for each case, and one for each open-set rule."""
    rows = [_row(namer, trust, namer.thresholds[case]) for case, trust in namer.trusts.items()]
    if namer.open_set:
        found = namer.open_set
        rows += [
            {
                "subject": "unknown names",
                "rank": found.rank,
                "names": found.names,
                "sheets": found.known + found.unknown,
                "method": rule.name,
                "threshold": rule.threshold,
                "auroc": rule.auroc,
                "detected": rule.detected,
                "false_alarms": rule.false_alarms,
            }
            for rule in (found.used, *found.others)
        ]
    schema = pa.schema(list(_COLUMNS.items()))
    return pa.Table.from_pylist([{name: row.get(name) for name in _COLUMNS} for row in rows], schema=schema)


def _row(namer: Namer, trust: Trust, threshold: Threshold) -> dict[str, Any]:
    return {
        "subject": "names",
        "rank": trust.rank,
        "given": trust.given or None,
        "names": len(namer.models[trust.rank].names),
        "sheets": len(trust.hit),
        "accuracy": float(trust.hit.mean()),
        "method": trust.calibration.method,
        **{f"brier_{name}": value for name, value in trust.errors.items()},
        "calibration_error_raw": trust.error_before,
        "calibration_error": trust.error_after,
        "coverage": threshold.coverage,
        **(_describe_accepted(threshold) if threshold.coverage else {}),
    }


def _describe_accepted(threshold: Threshold) -> dict[str, float]:
    return {
        "threshold": threshold.confidence,
        "accepted_accuracy": threshold.accuracy,
        "accepted_low": threshold.low,
        "accepted_high": threshold.high,
    }


def describe_measured(namer: Namer) -> Iterator[str]:
    """Lines for people, on named sheets whose gatherings were held out."""
    for case, trust in namer.trusts.items():
        threshold = namer.thresholds[case]
        given = f", {trust.given} given" if trust.given != NOTHING else ""
        head = (
            f"{trust.rank}{given}: {100 * trust.hit.mean():.1f} % of {len(trust.hit):,} named sheets right; "
            f"calibrated by {trust.calibration.method}, error {trust.error_before:.3f} → {trust.error_after:.3f}"
        )
        if not threshold.coverage:
            yield f"{head}; no threshold reaches the wanted accuracy, so nothing is accepted"
        else:
            yield (
                f"{head}; confidence ≥ {threshold.confidence:.3f} accepts {100 * threshold.coverage:.1f} %, of which "
                f"{100 * threshold.accuracy:.1f} % are right ({100 * threshold.low:.1f}–{100 * threshold.high:.1f})"
            )
    if namer.open_set:
        found, best = namer.open_set, namer.open_set.used
        others = ", ".join(f"{rule.name} alone {rule.auroc:.3f}" for rule in found.others)
        yield (
            f"unknown names: by confidence or distance (AUROC {best.auroc:.3f}; {others}), with each {found.rank} left "
            f"out once: {100 * best.detected:.1f} % of {found.unknown:,} unknown sheets found, "
            f"{100 * best.false_alarms:.1f} % of {found.known:,} known ones taken for unknown"
        )


def write_figure(namer: Namer, accuracy: float, path: Path) -> None:
    """Accuracy against coverage of each case."""
    curves = []
    for case, trust in namer.trusts.items():
        coverage, right = draw_curve(trust)
        label = f"{trust.rank}, {trust.given} given" if trust.given != NOTHING else trust.rank
        curves.append(Curve(label, np.asarray(coverage), np.asarray(right), namer.thresholds[case].coverage))
    write_accuracy_coverage(curves, accuracy, path)
