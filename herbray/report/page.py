"""The page: everything that a template shows, gathered, and one file written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa

from herbray import storage
from herbray.console.redact import redact
from herbray.report.claims import OBJECTIVES
from herbray.report.content import EncoderNote, ReportData, note_order
from herbray.report.figures.curves import curves
from herbray.report.figures.map import draw_map
from herbray.report.names import Kind, name_encoders
from herbray.report.scores import Scores, Series, colour_of, list_series
from herbray.report.sections import applications, archive
from herbray.report.sections.sheets import contact_sheet
from herbray.report.sections.study import study
from herbray.report.sections.sweep import sweep
from herbray.report.text import clean


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
        "redacted": redact,
    }
    return environment


def _context(data: ReportData) -> dict[str, Any]:
    series = _series(data)
    names = {one.kind: one.label for one in series}
    scores = Scores(data.results, data.comparisons, series)
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
        "encoders": _encoders(data.encoders, series),
        "curves": curves(data.curves, "curves", series) if data.curves is not None else None,
        "sweeps": [sweep(note, f"sweep{place}") for place, note in enumerate(data.sweeps)],
        "identify": applications.identify(scores),
        "discriminate": applications.discriminate(scores, taxonomy),
        "mislabel": applications.mislabel(scores, taxonomy),
        "study": study(data.comparisons, data.encoders, splits, "study", names),
        "colours": {objective: colour_of(objective) for objective in OBJECTIVES},
        "others": applications.others(scores),
        "map": draw_map(_panels(data, names), data.projection, "map"),
        "refused": archive.refused(data.quarantine),
        "one_seed": scores.seeds == 1,
        "paired": scores.paired,
        "undefined": scores.undefined,
    }


def _series(data: ReportData) -> tuple[Series, ...]:
    """Every kind of encoder that the page shows, so that its parts call each by the same name."""
    kinds = {Kind.of(asdict(note.identity)) for note in data.encoders}
    columns = [each.name for each in fields(Kind)]
    for table, end in ((data.results, ""), (data.curves, ""), (data.comparisons, "_a"), (data.comparisons, "_b")):
        if table is not None and {f"{name}{end}" for name in columns} <= set(table.column_names):
            rows = table.select([f"{name}{end}" for name in columns]).group_by([f"{name}{end}" for name in columns])
            kinds |= {Kind.of(row, end) for row in rows.aggregate([]).to_pylist()}
    return list_series(kinds, {note.identity.kind: note.settings for note in data.encoders})


def _encoders(notes: Sequence[EncoderNote], series: Sequence[Series]) -> list[tuple[EncoderNote, Series]]:
    """Notes in the page's order, each with its series."""
    of = {one.kind: one for one in series}
    return [(note, of[note.identity.kind]) for note in sorted(notes, key=note_order)]


def _panels(data: ReportData, names: Mapping[str, str]) -> dict[str, pa.Table]:
    """The embeddings in the page's order of encoders, by names of the encoders."""
    notes = sorted((note for note in data.encoders if note.identity.encoder in data.embeddings), key=note_order)
    labels = name_encoders([note.identity for note in notes], names)
    known = {label: data.embeddings[encoder] for encoder, label in labels.items()}
    return known | {name: table for name, table in sorted(data.embeddings.items()) if name not in labels}


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
