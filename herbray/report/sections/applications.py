"""The three applications of the paper: the metrics that are tabulated, drawn, compared and summarised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from herbray.report.figures.dots import draw_dots
from herbray.report.figures.drawing import Drawing
from herbray.report.figures.positives import draw_positives
from herbray.report.scores import Scores, kinship, level_order
from herbray.report.sections.summary import (
    Finding,
    discrimination_findings,
    identification_findings,
    mislabel_findings,
    summarise_findings,
)
from herbray.report.sections.tables import ScoreTable, score_table
from herbray.report.text import clean

Taxonomy = Mapping[str, tuple[str | None, str | None]]
"""Family and order of each genus."""

IDENTIFY, DISCRIMINATE, MISLABEL = "identify", "discriminate", "mislabel"

_IDENTIFY_COLUMNS = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "balanced_accuracy": "balanced acc.",
    "auroc": "AUROC",
}
_DISCRIMINATE_COLUMNS = {  # metrics that are comparable across pairs come first
    "balanced_accuracy": "balanced acc.",
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "separation": "separation",
    "similarity": "similarity",
}
_MEASURED = ("separation", "similarity")  # properties of the pair in this representation, not a quality
_MISLABEL_COLUMNS = {
    "tpr": "true positives",
    "fpr": "false positives",
    "precision": "precision",
    "auroc": "AUROC",
    "precision_at_n": "precision@n",
}
_RIVALS = {"": "confident", "oof_": "plain", "knn_": "neighbours"}
_RIVAL_COLUMNS = {
    f"{prefix}{metric}": f"{label}: {name}"
    for metric, label in (("auroc", "AUROC"), ("precision_at_n", "prec.@n"), ("tpr", "TPR"), ("fpr", "FPR"))
    for prefix, name in _RIVALS.items()
}
_ROWS = (("rows", "specimens", ",.0f"), ("rows_left_out", "left out", ",.0f"))
_MAJORITY = ("majority", "majority", ".3f")
_LEAK = "institution, a leak"  # labels and rulers reveal the herbarium: a high score is no merit
_KIN = {"same family": 0, "same order": 1, "different orders": 2, "": 3}


@dataclass(frozen=True)
class Application:
    """One of the three applications as shown on the page; any part may be missing."""

    words: list[str]
    findings: list[Finding]
    figure: Drawing | None
    table: ScoreTable | None
    warnings: list[str]
    rivals: ScoreTable | None = None


def identification_section(scores: Scores) -> Application:
    """Taxonomic identification at different scales."""
    columns = _measured_columns(scores, IDENTIFY, _IDENTIFY_COLUMNS)
    drawn = _measured_columns(scores, IDENTIFY, {"accuracy": "accuracy", "f1": "macro F1"})
    titles = {level: _LEAK if level == "institution" else level for level in scores.levels(IDENTIFY)}
    notes = (("classes", "classes", ",.0f"), *_ROWS, _MAJORITY)
    findings = identification_findings(scores, IDENTIFY, "accuracy", "majority")
    return Application(
        words=summarise_findings(findings, "accuracy"),
        findings=findings,
        figure=draw_dots(scores, IDENTIFY, drawn, titles, "identify", {"accuracy": "majority"}),
        table=score_table(scores, IDENTIFY, columns, titles, notes, unranked=("institution",)),
        warnings=_convergence_warnings(scores, IDENTIFY),
    )


def discrimination_section(scores: Scores, taxonomy: Taxonomy) -> Application:
    """Discrimination of similar and distinct genera."""
    columns = _measured_columns(scores, DISCRIMINATE, _DISCRIMINATE_COLUMNS)
    drawn = _measured_columns(scores, DISCRIMINATE, {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC"})
    titles = _pair_titles(scores, DISCRIMINATE, taxonomy)
    findings = discrimination_findings(scores, DISCRIMINATE, "balanced_accuracy", 0.5, list(titles))
    return Application(
        words=summarise_findings(findings, "balanced accuracy"),
        findings=findings,
        figure=draw_dots(scores, DISCRIMINATE, drawn, titles, "discriminate", {"balanced_accuracy": 0.5, "auroc": 0.5}),
        table=score_table(scores, DISCRIMINATE, columns, titles, (*_ROWS, _MAJORITY), described=_MEASURED),
        warnings=_convergence_warnings(scores, DISCRIMINATE),
    )


def mislabel_section(scores: Scores, taxonomy: Taxonomy) -> Application:
    """Identification of mislabelled specimens."""
    columns = _measured_columns(scores, MISLABEL, _MISLABEL_COLUMNS)
    titles = _pair_titles(scores, MISLABEL, taxonomy)
    findings = mislabel_findings(scores, MISLABEL, "tpr", "fpr", list(titles))
    return Application(
        words=summarise_findings(findings, "true-positive rate"),
        findings=findings,
        figure=draw_positives(scores, MISLABEL, "tpr", "fpr", titles, "mislabel"),
        table=score_table(scores, MISLABEL, columns, titles, _ROWS, fewer_is_better=("fpr",)),
        warnings=_convergence_warnings(scores, MISLABEL),
        rivals=_rivals_table(scores, titles),
    )


def _rivals_table(scores: Scores, titles: dict[str, str]) -> ScoreTable | None:
    """Table of the three detection methods; None if only confident learning was measured."""
    columns = _measured_columns(scores, MISLABEL, _RIVAL_COLUMNS)
    if not any(metric.startswith(("oof_", "knn_")) for metric, _ in columns):
        return None
    fewer = tuple(metric for metric, _ in columns if metric.endswith("fpr"))
    return score_table(scores, MISLABEL, columns, titles, (), fewer_is_better=fewer)


def other_tables(scores: Scores) -> list[tuple[str, ScoreTable]]:
    """Tables of all other tasks with every metric, so that no result is hidden."""
    tables = []
    for task in scores.tasks():
        if task in (IDENTIFY, DISCRIMINATE, MISLABEL):
            continue
        levels = scores.levels(task)
        columns = [(metric, clean(metric, 30)) for metric in scores.metrics(task)]
        table = score_table(scores, task, columns, {level: level for level in levels}, unranked=levels)
        tables += [(clean(task), table)] if table else []
    return tables


def _measured_columns(scores: Scores, task: str, columns: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    measured = set(scores.metrics(task))
    return [(metric, label) for metric, label in columns.items() if metric in measured]


def _pair_titles(scores: Scores, task: str, taxonomy: Taxonomy) -> dict[str, str]:
    """Title of each pair, similar genera first."""
    kin = {pair: kinship(pair, taxonomy) for pair in scores.levels(task)}
    pairs = sorted(kin, key=lambda pair: (_KIN[kin[pair]], level_order(pair)))
    return {pair: f"{pair} ({kin[pair]})" if kin[pair] else pair for pair in pairs}


def _convergence_warnings(scores: Scores, task: str) -> list[str]:
    """A warning if a probe stopped before it converged: its score then does not follow the protocol."""
    places = [(task, split, level, "converged") for split in scores.splits(task) for level in scores.levels(task)]
    found = [
        one.label
        for one in scores.series
        if any((cell := scores.cell(one, *place)) is not None and min(cell.values) < 1 for place in places)
    ]
    return [f"Some probes stopped before they converged: {', '.join(found)}."] if found else []
