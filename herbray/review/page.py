"""Writes the review page: a folder that opens from the file system and needs no network."""

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from herbray import storage
from herbray.review.content import Doubt, Item, Page, Sheet, collector_of, explain

CHUNK: Final = 100
"""Items whose evidence is in one file, which the page loads when it needs it."""

_FACTS: Final = (
    "order",
    "family",
    "genus",
    "species",
    "institution",
    "gathering",
    "catalog_number",
    "reference",
    "image",
    "license",
    "rights_holder",
)


def write_page(page: Page, out: Path) -> Path:
    """Write everything but the pictures, and return the path of the page.

    Metadata reach the browser as JSON in scripts, and the page shows them as text only.
    """
    evidence = out / "evidence"
    starts = range(0, len(page.items), CHUNK)
    for number, start in enumerate(starts):
        items = [_evidence(item) for item in page.items[start : start + CHUNK]]
        storage.write_text(evidence / f"{number:05d}.js", f"Review.receiveEvidence({number}, {_encode(items)});\n")
    for path in evidence.glob("*.js"):
        if int(path.stem) >= len(starts):
            path.unlink()
    data = {
        "title": page.title,
        "store": page.store,
        "about": list(page.about),
        "shares": list(page.shares),
        "chunk": CHUNK,
        "verdicts": [dict(row) for row in page.verdicts],
        "items": [_entry(item) for item in page.items],
    }
    storage.write_text(out / "data.js", f"Review.receive({_encode(data)});\n")
    for file in sorted(importlib.resources.files("herbray.review").joinpath("static").iterdir(), key=lambda f: f.name):
        storage.write_bytes(out / file.name, file.read_bytes())
    return out / "index.html"


def _encode(value: Any) -> str:  # noqa: ANN401  (any JSON)
    """JSON in ASCII, without a character that could end a script."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _entry(item: Item) -> dict[str, Any]:
    """What the queue and the filters need of an item."""
    row = item.sheet.row
    return {
        "id": item.sheet.specimen_id,
        "rank": item.rank,
        "given": item.given,
        "now": row[item.rank],
        "suggested": item.doubts[0].suggested if item.doubts else None,
        "suspected": any(doubt.suspected for doubt in item.doubts),
        "ranks": [doubt.rank for doubt in item.doubts if doubt.suspected],
        "number": row["catalog_number"],
        "family": row["family"],
        "genus": row["genus"],
        "institution": row["institution"],
        "collector": collector_of(row["gathering"]),
        "picture": item.sheet.picture,
    }


def _evidence(item: Item) -> dict[str, Any]:
    """The rest, which is shown when the item is."""
    return {
        "why": explain(item),
        "doubts": [_doubt(doubt) for doubt in item.doubts],
        "facts": _facts(item.sheet),
        "similar": [
            {
                "name": similar.name,
                "sheets": [_facts(sheet) | {"distance": round(distance, 4)} for sheet, distance in similar.sheets],
            }
            for similar in item.similar
        ],
    }


def _doubt(doubt: Doubt) -> dict[str, Any]:
    names: Sequence[str] = ("rank", "given", "suggested", "suspected", "place")
    numbers = {name: round(getattr(doubt, name), 4) for name in ("given_probability", "suggested_probability")}
    return {name: getattr(doubt, name) for name in names} | numbers


def _facts(sheet: Sheet) -> dict[str, Any]:
    found = {name: sheet.row.get(name) for name in _FACTS}
    return {"id": sheet.specimen_id, "picture": sheet.picture} | {name: v for name, v in found.items() if v}
