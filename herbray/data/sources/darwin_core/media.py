"""Which rows and addresses of an archive are images of specimens (Simple Multimedia, Audiovisual Core)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from herbray.data.sources.darwin_core.licenses import parse_license
from herbray.data.sources.darwin_core.rows import Row

MEDIA_TERMS: Final = (
    *("accessuri", "identifier", "goodqualityaccessuri", "type", "mediatype", "format", "variant", "variantliteral"),
    *("license", "rights", "webstatement", "usageterms", "rightsholder", "owner", "mediaid"),
    *("pixelxdimension", "pixelydimension"),
)
"""The terms that this module reads."""

_REFERENCES: Final = ("accessuri", "identifier", "goodqualityaccessuri")
_LICENSES: Final = ("license", "rights", "webstatement", "usageterms")
_IMAGE_WORDS: Final = frozenset(
    ("stillimage", "image", "photograph", "jpg", "jpeg", "png", "tif", "tiff", "webp", "picture", "photo", "images")
)
_OTHER_WORDS: Final = frozenset(
    (
        *(
            "sound",
            "sounds",
            "movingimage",
            "text",
            "interactiveresource",
            "physicalobject",
            "dataset",
            "software",
            "event",
        ),
        *("video", "audio", "mp3", "wav", "mp4", "mov", "pdf", "html", "htm", "json", "service", "collection", "model"),
    )
)
_SUFFIX: Final = re.compile(r"\.([A-Za-z0-9]{2,5})$")
_ADDRESS: Final = re.compile(r"^https?://[^/\s]+/?\S*$", re.I)
_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+:")
_BETWEEN: Final = re.compile(r"\s*\|\s*|\s*[;,]\s*(?=https?://)|\s+(?=https?://)", re.I)
_PLAIN_BETWEEN: Final = re.compile(r"\s*[|;]\s*")


@dataclass(frozen=True)
class Media:
    """An image of a specimen.

    Attributes:
        image: address on the web, or name of a file in the archive.
        thumbnail: whether it is a small copy.
        pixels: width times height, as declared; 0: not declared.
        license: SPDX identifier; empty if the text names no known licence.
        license_text: what the publisher wrote about the rights in the image.
        rights_holder: of the image.
    """

    image: str
    thumbnail: bool = False
    pixels: int = 0
    license: str = ""
    license_text: str = ""
    rights_holder: str = ""


def is_image(row: Row, reference: str) -> bool:
    """Whether a row is a still image.

    Publishers swap `type` and `format`, or leave both empty: then the ending of the file's name decides, and a name
    without a known ending is taken for an image.
    """
    verdicts = {_judge(row[term]) for term in ("type", "mediatype", "format")} - {None}
    if verdicts:
        return verdicts == {True}
    suffix = _SUFFIX.search(reference.partition("?")[0])
    return _judge(suffix[1]) is not False if suffix else True


@lru_cache(maxsize=1024)  # the same few in all rows
def _judge(text: str) -> bool | None:
    """Whether a type or format is that of a still image; None: it does not say."""
    lowered = text.strip().lower()
    if lowered.startswith("http"):
        lowered = lowered.rpartition("/")[2].rpartition("#")[2]
    major, slash, minor = lowered.partition("/")
    if slash:
        if major == "image":
            return True
        return None if minor.startswith(("octet-stream", "unknown")) or not minor else False
    word = re.sub(r"[\W_]", "", lowered)
    return True if word in _IMAGE_WORDS else False if word in _OTHER_WORDS else None


def find_reference(row: Row) -> str | None:
    """Where the image of a row is: `accessURI`, else `identifier`, else `goodQualityAccessURI`.

    Returns:
        The first of them that is an address of the web or the name of a file; None if none is.
    """
    return next((row[term] for term in _REFERENCES if is_address(row[term]) or is_file_name(row[term])), None)


def is_address(text: str) -> bool:
    """Whether a text is an address on the web."""
    return bool(_ADDRESS.match(text))


def is_file_name(text: str) -> bool:
    """Whether a text looks like the name of an image file; identifiers such as "urn:…" or "K1" do not."""
    if _SCHEME.match(text) or "\0" in text:
        return False
    suffix = _SUFFIX.search(text)
    return bool(suffix) and _judge(suffix[1] if suffix else "") is True


def make_media(row: Row, reference: str) -> Media:
    """The image of a row."""
    texts = {term: row[term] for term in _LICENSES if row[term]}
    known = {term: found for term, text in texts.items() if (found := parse_license(text))}
    first = next(iter(known.values()), "")
    conflict = any(found != first for found in known.values())
    distinct = list(dict.fromkeys(texts.values()))
    return Media(
        image=reference,
        thumbnail="thumb" in (row["variant"] + row["variantliteral"]).lower(),
        pixels=_to_number(row["pixelxdimension"]) * _to_number(row["pixelydimension"]),
        license="" if conflict else first,
        license_text=" | ".join(distinct),
        rights_holder=row["rightsholder"] or row["owner"],
    )


def _to_number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 0


def split_references(text: str, separators: Mapping[str, str]) -> list[str]:
    """The images in a list of `associatedMedia`, which publishers separate in several ways.

    Args:
        text: the list.
        separators: term → separator that the archive declares.
    """
    if not text:
        return []
    if declared := separators.get("associatedmedia"):
        parts = text.split(declared)
    else:
        parts = (_BETWEEN if "://" in text else _PLAIN_BETWEEN).split(text)
    found = (part.strip().strip(";,|").strip() for part in parts)
    return [part for part in dict.fromkeys(found) if is_address(part) or is_file_name(part)]
