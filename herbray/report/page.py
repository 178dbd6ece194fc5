"""The page: collect everything that the templates show, and write one file."""

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
from herbray.report.figures.curves import draw_curves
from herbray.report.figures.map import draw_map
from herbray.report.names import Kind, name_encoders
from herbray.report.scores import Scores, Series, colour_of, list_series
from herbray.report.sections import applications, archive
from herbray.report.sections.sheets import make_contact_sheet
from herbray.report.sections.study import study_section
from herbray.report.sections.sweep import sweep_section
from herbray.report.text import clean


def write_report(data: ReportData, path: Path) -> None:
    """Write the report as one HTML file that needs no network, no scripts and no other files.

    The file is written completely or not at all. The same data give the same bytes.

    Args:
        data: the content; missing parts are replaced by a sentence.
        path: the HTML file; its folder is created.

    Raises:
        ValueError: a table lacks a column, or UMAP is requested but not installed.
    """
    page = _environment().get_template("report.html.j2").render(_context(data))
    storage.write_bytes(path, page.encode("utf-8", "replace"))


def _environment() -> jinja2.Environment:
    """Templates with autoescape; undefined names are errors."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("herbray.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean,
        "count": _format_count,
        "duration": _format_duration,
        "score": _format_score,
        "percent": _format_percent,
        "points": _format_points,
        "redacted": redact,
    }
    return environment


def _context(data: ReportData) -> dict[str, Any]:
    series = _list_all_series(data)
    names = {one.kind: one.label for one in series}
    scores = Scores(data.results, data.comparisons, series)
    specimens = archive.unique_specimens(data.embeddings)
    taxonomy = archive.read_taxonomy(specimens)
    splits = archive.split_rows(data.manifest, specimens)
    return {
        "data": data,
        "source": _source_name(data.manifest.get("source")),
        "counts": archive.read_counts(data.manifest),
        "splits": splits,
        "institutions": archive.count_bars(specimens, "institution"),
        "families": archive.count_bars(specimens, "family"),
        "specimens": specimens.num_rows,
        "contact": make_contact_sheet(data.sheets),
        "encoders": _order_encoders(data.encoders, series),
        "curves": draw_curves(data.curves, "curves", series) if data.curves is not None else None,
        "sweeps": [sweep_section(note, f"sweep{place}") for place, note in enumerate(data.sweeps)],
        "identify": applications.identification_section(scores),
        "discriminate": applications.discrimination_section(scores, taxonomy),
        "mislabel": applications.mislabel_section(scores, taxonomy),
        "study": study_section(data.comparisons, data.encoders, splits, "study", names),
        "colours": {objective: colour_of(objective) for objective in OBJECTIVES},
        "others": applications.other_tables(scores),
        "map": draw_map(_name_panels(data, names), data.projection, "map"),
        "refused": archive.summarise_quarantine(data.quarantine),
        "one_seed": scores.seeds == 1,
        "paired": scores.paired,
        "undefined": scores.undefined,
    }


def _list_all_series(data: ReportData) -> tuple[Series, ...]:
    """All kinds of encoder on the page, so that every section uses the same names."""
    kinds = {Kind.from_row(asdict(note.identity)) for note in data.encoders}
    columns = [each.name for each in fields(Kind)]
    for table, end in ((data.results, ""), (data.curves, ""), (data.comparisons, "_a"), (data.comparisons, "_b")):
        if table is not None and {f"{name}{end}" for name in columns} <= set(table.column_names):
            rows = table.select([f"{name}{end}" for name in columns]).group_by([f"{name}{end}" for name in columns])
            kinds |= {Kind.from_row(row, end) for row in rows.aggregate([]).to_pylist()}
    return list_series(kinds, {note.identity.kind: note.settings for note in data.encoders})


def _order_encoders(notes: Sequence[EncoderNote], series: Sequence[Series]) -> list[tuple[EncoderNote, Series]]:
    """Notes in the order of the page, each with its series."""
    of = {one.kind: one for one in series}
    return [(note, of[note.identity.kind]) for note in sorted(notes, key=note_order)]


def _name_panels(data: ReportData, names: Mapping[str, str]) -> dict[str, pa.Table]:
    """The embeddings by name of the encoder, in the order of encoders on the page."""
    notes = sorted((note for note in data.encoders if note.identity.encoder in data.embeddings), key=note_order)
    labels = name_encoders([note.identity for note in notes], names)
    known = {label: data.embeddings[encoder] for encoder, label in labels.items()}
    return known | {name: table for name, table in sorted(data.embeddings.items()) if name not in labels}


def _source_name(source: object) -> str:
    """The name of the source, whether the manifest contains its name or its settings."""
    if isinstance(source, Mapping):
        source = source.get("name", "")
    return clean(source or "not recorded")


def _format_count(value: float) -> str:
    return f"{value:,.0f}"


def _format_score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _format_points(value: float) -> str:
    """Percentage points with a sign; uses a minus sign (−), and no sign if the value rounds to zero."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _format_duration(seconds: float) -> str:
    """A duration for people: "48 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
