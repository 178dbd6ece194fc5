"""Where the file of an image is: in a folder of the user, or in the archive."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from herbray.data.sources.darwin_core.staging import Staging

SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"))
"""Endings of the names of image files, in small letters."""


class AmbiguousName(ValueError):
    """Several files have the name of one image."""


def stage_folder(folder: Path, staging: Staging) -> int:
    """List the image files of a folder and its subfolders; links are not followed.

    Returns:
        Their number.

    Raises:
        ValueError: the folder does not exist or holds no image.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise ValueError(f"{folder}: no such folder; set source.images to the folder of your image files")
    count = staging.add_files(_iterate_files(root))
    if not count:
        raise ValueError(
            f"{folder}: no image files ({', '.join(sorted(SUFFIXES))}); set source.images to another folder"
        )
    return count


def _iterate_files(root: Path) -> Iterator[tuple[str, str]]:
    """Each key of each file, and its path."""
    for place, _, names in os.walk(root):
        for name in names:
            stem, suffix = os.path.splitext(name)
            path = os.path.join(place, name)
            if suffix.lower() in SUFFIXES and not os.path.islink(path):
                for key in {_exact(name), _exact(stem), _loose(stem)} - {""}:
                    yield key, path


def find_in_folder(staging: Staging, reference: str, catalog_number: str, core: str) -> tuple[str, int] | None:
    """The file of an image in the staged folder, and the rank of how it was found (`StagedRow.rank`).

    It is found by the name of the file in `reference`, with or without its ending, else by the specimen's catalogue
    number or the id of its core row. Letters' case, Unicode form and, for the last two, blanks and punctuation do not
    matter.

    Raises:
        AmbiguousName: several files match.
    """
    name = _file_name(reference)
    stem = os.path.splitext(name)[0]
    keys = (
        *((_exact(name), 0), (_exact(stem), 0), (_exact(catalog_number), 1), (_exact(core), 2)),
        *((_loose(catalog_number), 1), (_loose(core), 2)),
    )
    for key, rank in keys:
        if not key:
            continue
        found = staging.find_files(key)
        if len(found) > 1:
            raise AmbiguousName(f"several files have this name, such as {found[0]} and {found[1]}; rename one")
        if found:
            return found[0], rank
    return None


def _file_name(reference: str) -> str:
    """The name of the file in an address or path."""
    path = unquote(urlsplit(reference).path) if "://" in reference else reference.replace("\\", "/")
    return path.rstrip("/").rpartition("/")[2]


def _exact(name: str) -> str:
    return "=" + unicodedata.normalize("NFC", name).casefold() if name else ""


def _loose(name: str) -> str:
    bare = re.sub(r"[\W_]", "", unicodedata.normalize("NFC", name)).casefold()
    return "~" + bare if bare else ""
