"""The page: everything that a template shows, gathered, and one file written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from herbray import storage
from herbray.redact import redacted
from herbray.report import applications, archive
from herbray.report.claims import OBJECTIVES
from herbray.report.content import EncoderNote, ReportData
from herbray.report.curves import curves
from herbray.report.map import draw_map
from herbray.report.scores import Scores, clean, list_series, model_order
from herbray.report.sheets import contact_sheet
from herbray.report.study import study
from herbray.report.sweep import sweep


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
    storage.write_bytes(path, page.encode("utf-8", "replace"))


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
        "points": _points,
        "redacted": redacted,
    }
    return environment


def _context(data: ReportData) -> dict[str, Any]:
    scores = Scores(data.results, data.comparisons)
    specimens = archive.specimens(data.embeddings)
    taxonomy = archive.taxonomy(specimens)
    splits = archive.split_rows(data.manifest, specimens)
    return {
        "data": data,
        "source": _source(data.manifest.get("source")),
        "counts": archive.counts(data.manifest),
        "splits": splits,
        "institutions": archive.bars(specimens, "institution"),
        "families": archive.bars(specimens, "family"),
        "specimens": specimens.num_rows,
        "contact": contact_sheet(data.sheets),
        "encoders": _encoders(data.encoders),
        "curves": curves(data.curves, "curves") if data.curves is not None else None,
        "sweeps": [sweep(note, f"sweep{place}") for place, note in enumerate(data.sweeps)],
        "identify": applications.identify(scores),
        "discriminate": applications.discriminate(scores, taxonomy),
        "mislabel": applications.mislabel(scores, taxonomy),
        "study": study(data.comparisons, data.encoders, splits, "study"),
        "colours": {one.model: one.colour for one in list_series((model, "") for model in OBJECTIVES)},
        "others": applications.others(scores),
        "map": draw_map(data.embeddings, data.projection, "map"),
        "refused": archive.refused(data.quarantine),
        "one_seed": scores.seeds == 1,
        "paired": scores.paired,
        "undefined": scores.undefined,
    }


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


def _points(value: float) -> str:
    """Percentage points with their sign; a true minus, and none before what rounds to nothing."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _duration(seconds: float) -> str:
    """Seconds as people say them: "48 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
