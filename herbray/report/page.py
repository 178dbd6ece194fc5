"""The page: everything that a template shows, gathered, and one file written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from herbray.report import archive
from herbray.report.content import EncoderNote, ReportData
from herbray.report.curves import curves
from herbray.report.dots import dots
from herbray.report.drawing import Drawing
from herbray.report.map import draw_map
from herbray.report.positives import positives
from herbray.report.scores import Scores, clean, kinship, level_order, list_series, model_order
from herbray.report.sheets import contact_sheet
from herbray.report.summary import Finding, discrimination, identification, in_words, mislabels
from herbray.report.tables import ScoreTable, score_table

IDENTIFY, DISCRIMINATE, MISLABEL = "identify", "discriminate", "mislabel"

_LEAK = "institution, a leak"  # labels and rulers betray the herbarium: a high score is no merit
_KIN = {"same family": 0, "same order": 1, "different orders": 2, "": 3}


@dataclass(frozen=True)
class Application:
    """One of the paper's three applications as the page shows it; any part may be missing."""

    words: list[str]
    findings: list[Finding]
    figure: Drawing | None
    table: ScoreTable | None
    warnings: list[str]


def write_report(data: ReportData, path: Path) -> None:
    """Write the report as one HTML file that needs no network, no script and no other file.

    The file appears whole or not at all. The same data gives the same bytes.

    Args:
        data: what to show; missing parts are told in a sentence.
        path: the HTML file; its folder is made.

    Raises:
        ValueError: a table lacks a column, or UMAP is asked for and not installed.
    """
    page = _environment().get_template("report.html.j2").render(_context(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(page.encode("utf-8", "replace"))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _environment() -> jinja2.Environment:
    """Templates with autoescape; a name that a template misspells is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("herbray.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean,
        "count": _count,
        "duration": _duration,
        "score": _score,
        "percent": _percent,
    }
    return environment


def _context(data: ReportData) -> dict[str, Any]:
    scores = Scores(data.results)
    specimens = archive.specimens(data.embeddings)
    taxonomy = archive.taxonomy(specimens)
    return {
        "data": data,
        "source": _source(data.manifest.get("source")),
        "counts": archive.counts(data.manifest),
        "splits": archive.split_rows(data.manifest, specimens),
        "institutions": archive.bars(specimens, "institution"),
        "families": archive.bars(specimens, "family"),
        "specimens": len(specimens),
        "contact": contact_sheet(data.sheets),
        "encoders": _encoders(data.encoders),
        "curves": curves(data.curves, "curves") if data.curves is not None else None,
        "identify": _identify(scores),
        "discriminate": _discriminate(scores, taxonomy),
        "mislabel": _mislabel(scores, taxonomy),
        "others": _others(scores),
        "map": draw_map(data.embeddings, data.projection, "map"),
        "refused": archive.refused(data.quarantine),
        "one_seed": scores.seeds == 1,
        "undefined": scores.undefined,
    }


def _identify(scores: Scores) -> Application:
    task = IDENTIFY
    metrics = _present(
        scores,
        task,
        ("accuracy", "accuracy"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("f1", "F1"),
        ("balanced_accuracy", "balanced acc."),
        ("auroc", "AUROC"),
    )
    drawn = [
        (metric, {"f1": "macro F1"}.get(metric, label)) for metric, label in metrics if metric in ("accuracy", "f1")
    ]
    titles = {level: _LEAK if level == "institution" else level for level in scores.levels(task)}
    notes = (("classes", "classes", ".0f"), ("rows", "specimens", ",.0f"), ("majority", "majority", ".3f"))
    return Application(
        words=in_words(found := identification(scores, task, "accuracy", "majority"), "accuracy"),
        findings=found,
        figure=dots(scores, task, drawn, titles, "identify", {"accuracy": "majority"}),
        table=score_table(scores, task, metrics, titles, notes, unranked=("institution",)),
        warnings=_unconverged(scores, task),
    )


def _discriminate(scores: Scores, taxonomy: Mapping[str, tuple[str | None, str | None]]) -> Application:
    task = DISCRIMINATE
    metrics = _present(
        scores,
        task,
        ("balanced_accuracy", "balanced acc."),
        ("auroc", "AUROC"),
        ("accuracy", "accuracy"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("f1", "F1"),
    )
    titles = _pairs(scores, task, taxonomy)
    drawn = [(metric, {"balanced_accuracy": "balanced accuracy"}.get(metric, label)) for metric, label in metrics[:2]]
    notes = (("rows", "specimens", ",.0f"), ("majority", "majority", ".3f"))
    return Application(
        words=in_words(
            found := discrimination(scores, task, "balanced_accuracy", 0.5, list(titles)), "balanced accuracy"
        ),
        findings=found,
        figure=dots(scores, task, drawn, titles, "discriminate", {"balanced_accuracy": 0.5, "auroc": 0.5}),
        table=score_table(scores, task, metrics, titles, notes),
        warnings=_unconverged(scores, task),
    )


def _mislabel(scores: Scores, taxonomy: Mapping[str, tuple[str | None, str | None]]) -> Application:
    task = MISLABEL
    metrics = _present(
        scores,
        task,
        ("tpr", "true positives"),
        ("fpr", "false positives"),
        ("precision", "precision"),
        ("auroc", "AUROC"),
        ("precision_at_n", "precision@n"),
        ("oof_tpr", "plain TPR"),
        ("oof_fpr", "plain FPR"),
    )
    titles = _pairs(scores, task, taxonomy)
    return Application(
        words=in_words(found := mislabels(scores, task, "tpr", "fpr", list(titles)), "true-positive rate"),
        findings=found,
        figure=positives(scores, task, "tpr", "fpr", titles, "mislabel"),
        table=score_table(scores, task, metrics, titles, (("rows", "specimens", ",.0f"),), ("fpr", "oof_fpr")),
        warnings=_unconverged(scores, task),
    )


def _others(scores: Scores) -> list[tuple[str, ScoreTable]]:
    """Tasks beyond the three: every metric in a plain table, so that no result goes unseen."""
    tables = []
    for task in scores.tasks():
        if task in (IDENTIFY, DISCRIMINATE, MISLABEL):
            continue
        metrics = [(metric, clean(metric, 30)) for metric in scores.metrics(task)]
        table = score_table(scores, task, metrics, {level: level for level in scores.levels(task)})
        tables += [(clean(task), table)] if table else []
    return tables


def _present(scores: Scores, task: str, *columns: tuple[str, str]) -> list[tuple[str, str]]:
    measured = set(scores.metrics(task))
    return [(metric, label) for metric, label in columns if metric in measured]


def _pairs(scores: Scores, task: str, taxonomy: Mapping[str, tuple[str | None, str | None]]) -> dict[str, str]:
    """Title of each pair, similar genera first."""
    kin = {pair: kinship(pair, taxonomy) for pair in scores.levels(task)}
    pairs = sorted(kin, key=lambda pair: (_KIN[kin[pair]], level_order(pair)))
    return {pair: f"{pair} ({kin[pair]})" if kin[pair] else pair for pair in pairs}


def _unconverged(scores: Scores, task: str) -> list[str]:
    """A sentence if a probe stopped before it converged: its score is then not the protocol's."""
    found = sorted(
        {
            one.label
            for one in scores.series
            for split in scores.splits(task)
            for level in scores.levels(task)
            if (cell := scores.cell(one, task, split, level, "converged")) is not None and min(cell.values) < 1
        }
    )
    return [f"Some probes stopped before they converged: {', '.join(found)}."] if found else []


def _encoders(notes: Sequence[EncoderNote]) -> list[tuple[EncoderNote, str]]:
    """Notes in the page's order, each with its series' colour."""
    colours = {(one.model, one.init): one.colour for one in list_series({(note.model, note.init) for note in notes})}
    ordered = sorted(notes, key=lambda note: (model_order(note.model), note.init, note.seed, note.version))
    return [(note, colours[note.model, note.init]) for note in ordered]


def _source(source: object) -> str:
    """The source's name, whether the manifest holds its name or its settings."""
    if isinstance(source, Mapping):
        source = source.get("name", "")
    return clean(source or "not recorded")


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _duration(seconds: float) -> str:
    """Seconds as people say them: "48 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
