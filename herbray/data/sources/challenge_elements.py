"""The elements of the metadata of Herbarium challenges: how each is parsed into a row of a table."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pyarrow as pa

from herbray.data.names.parse import parse_name
from herbray.schema import RANKS

Row: TypeAlias = tuple[int | str | None, ...]

INSTITUTION_CODES: Final = {
    "New York Botanical Garden": "NY",
    "Bishop Museum": "BPBM",
    "Naturalis Biodiversity Center": "NL",
    "Queensland Herbarium": "BRI",
    "Auckland War Memorial Museum": "AK",
}
"""The challenge's codes of its institutions, for files that have full names; other names are not changed."""

_TEXT_ID: Final = re.compile(r"[\w\-]{1,64}")  # as in "00026__004"


@dataclass(frozen=True)
class Edition:
    """How an edition of the challenge differs from the others.

    Attributes:
        prefix: of specimen ids, followed by the id of the image.
        files: where the metadata may lie below the dataset's folder.
        folders: where the images may lie below the folder of the metadata; the first that is there is used.
        institution: of all specimens; None: an annotation says it.
        text_ids: whether the ids of images are texts.
    """

    prefix: str
    files: Sequence[str] = ("metadata.json", "train/metadata.json")
    folders: Sequence[str] = ()
    institution: str | None = None
    text_ids: bool = False


def _parse_image(item: dict[str, Any], edition: Edition) -> Row:
    return (
        _parse_image_id(item[_first_key(item, "image_id", "id")], edition),
        _parse_text(item["file_name"]),
        _parse_optional_id(item, "license"),
    )


def _parse_annotation(item: dict[str, Any], edition: Edition) -> Row:
    institution = _first_key(item, "institution_id", "region_id")
    return (
        _parse_image_id(item["image_id"], edition),
        _parse_id(item["category_id"]),
        None if edition.institution else _parse_optional_id(item, institution),
    )


def read_image_id(item: object, edition: Edition) -> str | None:
    """The image id of an otherwise malformed annotation; None if the id is malformed too."""
    try:
        return _parse_image_id(item["image_id"], edition)  # type: ignore[index]  # a TypeError if it is no mapping
    except (TypeError, KeyError, ValueError):
        return None


def _parse_category(item: dict[str, Any], _edition: Edition) -> Row:
    order, family = (_parse_text(item.get(rank) or "") for rank in ("order", "family"))
    number = _parse_id(item[_first_key(item, "category_id", "id")])
    if "scientificName" in item:  # its `species` is an epithet
        genus = _parse_text(item["genus"]).strip()
        return number, order, family, genus, f"{genus} {_parse_text(item['species']).strip()}"
    name = _parse_text(item["name"]).strip()
    return number, order, family, parse_name(name).genus, name


def _parse_institution(item: dict[str, Any], _edition: Edition) -> Row:
    name = _parse_text(item[_first_key(item, "collectionCode", "name")]).strip()
    return _parse_id(item[_first_key(item, "institution_id", "id")]), INSTITUTION_CODES.get(name, name)


def _parse_license(item: dict[str, Any], _edition: Edition) -> Row:
    return _parse_id(item["id"]), _parse_text(item.get("name") or item["url"])


def _first_key(item: dict[str, Any], first: str, other: str) -> str:
    return first if first in item else other


def _parse_image_id(value: object, edition: Edition) -> str:
    if not edition.text_ids:
        return str(_parse_id(value))
    if not isinstance(value, str) or not _TEXT_ID.fullmatch(value):
        raise TypeError("the id of an image must be a text of at most 64 letters, digits and _")
    return value


def _parse_id(value: object) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise TypeError("an id must be a whole number of at most 64 bits")
    return value


def _parse_optional_id(item: dict[str, Any], key: str) -> int | None:
    return None if item.get(key) is None else _parse_id(item[key])


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name must be a string")
    if not value.isascii():
        value.encode()  # refuses unpaired surrogates, which JSON can contain, by UnicodeEncodeError, a ValueError
    return value


_ID_AND_NAME: Final = pa.schema({"id": pa.int64(), "name": pa.string()})
TABLES: Final = {
    "images": pa.schema({"id": pa.string(), "file": pa.string(), "license": pa.int64()}),
    "annotations": pa.schema({"image": pa.string(), "category": pa.int64(), "institution": pa.int64()}),
    "broken": pa.schema({"image": pa.string()}),  # images of malformed annotations
    "categories": pa.schema({"id": pa.int64()} | dict.fromkeys(RANKS, pa.string())),
    "institutions": _ID_AND_NAME,
    "licenses": _ID_AND_NAME,
}

SECTIONS: Final[dict[str, tuple[str, Callable[[dict[str, Any], Edition], Row]]]] = {
    "images": ("images", _parse_image),
    "annotations": ("annotations", _parse_annotation),
    "categories": ("categories", _parse_category),
    "institutions": ("institutions", _parse_institution),
    "regions": ("institutions", _parse_institution),  # the name in earlier files of the challenge
    "licenses": ("licenses", _parse_license),
}
"""Section of the file → the table that it fills, and the function that parses an element into a row."""
