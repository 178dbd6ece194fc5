"""The contact sheet: small, re-encoded images of example specimens, by genus."""

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from herbray.report.content import Sheet
from herbray.report.scores import split_name
from herbray.report.text import clean

SIDE = 200
"""Longest side of a thumbnail, in pixels."""

MOST_SHEETS = 60
_MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class Thumbnail:
    """One image of the contact sheet; `uri` is a data URI created here."""

    uri: str
    width: int
    height: int
    alt: str
    species: str
    note: str


@dataclass(frozen=True)
class ContactSheet:
    """Thumbnails by genus, and the numbers of unreadable sheets and of sheets beyond the limit."""

    genera: tuple[tuple[str, str, tuple[Thumbnail, ...]], ...]  # genus, family, pictures
    unreadable: int
    beyond: int


def make_contact_sheet(sheets: Sequence[Sheet]) -> ContactSheet:
    """Thumbnails of at most `MOST_SHEETS` sheets, by genus, species and identifier; unreadable sheets are counted."""
    groups: dict[str, list[Sheet]] = {}
    for sheet in sorted(sheets, key=lambda sheet: (sheet.genus or "\uffff", sheet.species or "", sheet.specimen_id)):
        groups.setdefault(sheet.genus or "", []).append(sheet)
    genera = []
    unreadable = shown = beyond = 0
    for genus, members in groups.items():
        pictures: list[Thumbnail] = []
        for sheet in members:
            if shown + len(pictures) >= MOST_SHEETS:
                beyond += 1
                continue
            picture = _make_thumbnail(sheet)
            unreadable += picture is None
            pictures += [picture] if picture else []
        shown += len(pictures)
        if pictures:
            genera.append((clean(genus) or "genus unknown", clean(members[0].family or ""), tuple(pictures)))
    return ContactSheet(tuple(genera), unreadable, beyond)


def _make_thumbnail(sheet: Sheet) -> Thumbnail | None:
    """Decode and re-encode the image of a sheet, so that only its pixels reach the page."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(sheet.jpeg), formats=("JPEG",)) as image:
                if image.width * image.height > _MOST_PIXELS:
                    return None
                image.draft("RGB", (SIDE, SIDE))  # decode at reduced scale
                small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.info.clear()  # otherwise the comment and colour profile of the file would be copied
        out = io.BytesIO()
        small.save(out, "JPEG", quality=78, optimize=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    name = clean(sheet.species or sheet.genus or "undetermined")
    house = clean(sheet.institution) if sheet.institution else "institution unknown"
    uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    alt = f"Herbarium sheet {clean(sheet.specimen_id)}, {name}, {house}"
    return Thumbnail(uri, small.width, small.height, alt, name, f"{house} · {split_name(sheet.split)}")
