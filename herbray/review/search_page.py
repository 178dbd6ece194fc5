"""The page of `herbray search`: each query beside the most similar sheets. One file, without scripts."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

from herbray import storage

_CHARACTERS: Final = 160  # of a text on the page; the table has all
_FACTS: Final = {
    "institution": "herbarium",
    "catalog_number": "no.",
    "gathering": "gathering",
    "specimen_id": "id",
    "split": "split",
}
"""Column → its label on the page."""


@dataclass(frozen=True)
class Query:
    """What was looked up, and what was found.

    Attributes:
        name: path of the image, or id of the specimen.
        picture: its JPEG; b"" if there is none.
        rows: rows of `schema.SIMILAR`, nearest first.
    """

    name: str
    picture: bytes
    rows: Sequence[Mapping[str, Any]]


def write_search_page(
    path: Path, title: str, about: Sequence[str], queries: Sequence[Query], pictures: Mapping[str, bytes]
) -> None:
    """Write the page, completely or not at all.

    Args:
        path: the HTML file.
        title: its heading.
        about: lines on how it was made.
        queries: what is shown.
        pictures: id of a found sheet → its JPEG.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("herbray.review"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [
        {
            "name": shorten(query.name),
            "picture": _address(query.picture),
            "sheets": [_sheet(row, pictures) for row in query.rows],
        }
        for query in queries
    ]
    text = environment.get_template("search.html.j2").render(title=shorten(title), about=about, queries=shown)
    storage.write_bytes(path, text.encode("utf-8", "replace"))


def _sheet(row: Mapping[str, Any], pictures: Mapping[str, bytes]) -> dict[str, Any]:
    name = row["species"] or row["genus"] or row["family"] or row["order"]
    reference = row["reference"] or ""
    return {
        "place": row["place"],
        "distance": f"{row['distance']:.4f}",
        "name": shorten(name) if name else "",
        "family": shorten(row["family"]) if row["family"] and row["family"] != name else "",
        "facts": [(label, shorten(row[name])) for name, label in _FACTS.items() if row[name]],
        "rights": shorten(" · ".join(filter(None, (row["rights_holder"], row["license"])))),
        "reference": reference if reference.lower().startswith(("https://", "http://")) else "",
        "picture": _address(pictures.get(row["specimen_id"], b"")),
    }


def _address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""


def shorten(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"
