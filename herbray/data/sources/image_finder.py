"""Find the images that a table names: in any Unicode form and case, with or without extension, inside one folder."""

import os
import re
import unicodedata
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from herbray import storage
from herbray.data.imaging.originals import is_on_web
from herbray.data.sources.base import GuardedFolder

_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
IMAGE_ENDINGS: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".jp2", ".j2k", ".jpf", ".jpx")
)
"""Endings of image files, in lower case."""


class Found(NamedTuple):
    """What a name in a table led to.

    Attributes:
        path: absolute; None if the name is refused. A file that does not exist keeps the path that the name says, and
            an address on the web stays as it is.
        exists: whether there is such a file.
        reason: why the name is refused, as a short code: "outside", "address" or "ambiguous".
        detail: the reason as a sentence.
    """

    path: str | None
    exists: bool = False
    reason: str = ""
    detail: str = ""


class ImageFinder:
    """Finds files in a folder by the names that people write, with one listing per folder; opens none.

    A name is tried as it is written; then with "/" for each backslash; then without regard to case and Unicode form;
    then as a name without its extension. A name without a folder is at last looked for in all subfolders. If several
    files fit equally well, the name is refused.
    """

    def __init__(self, folder: Path, links: Sequence[Path] = ()) -> None:
        """Find files in `folder`; links in it may lead into the folders `links` too."""
        self._guard = GuardedFolder(folder, links)
        roots = (folder.absolute(), self._guard.folder)
        self._roots = tuple(f"{storage.show(root).rstrip('/')}/" for root in roots)
        self._listings: dict[str, _Listing] = {}
        self._everywhere: dict[str, list[str]] | None = None

    def find(self, name: str) -> Found:
        """Find the file that a table names."""
        if _DRIVE.match(name):
            return Found(None, reason="outside", detail="a path of another computer; write it relative to the folder")
        address = _ADDRESS.match(name)
        if address and address[1].lower() != "file" and not name.startswith(self._roots):
            return Found(name) if is_on_web(name) else _refuse_address(address[1])
        is_file = address is not None and address[1].lower() == "file"
        inside = self._make_relative(_read_file_address(name) if is_file else name)
        if inside is None or ".." in inside.replace("\\", "/").split("/") or "\0" in inside:
            return self._refuse_outside()
        plain = self._guard.locate(inside)
        if plain is not None and self._exists(inside):
            return Found(plain, True)
        return self._match(inside) or (self._refuse_outside() if plain is None else Found(plain))

    def _make_relative(self, name: str) -> str | None:
        """Return a path relative to the folder; None if it is absolute and leads elsewhere."""
        if not name.startswith(("/", *self._roots)):
            return name
        return next((name[len(root) :].lstrip("/") for root in self._roots if name.startswith(root)), None)

    def _refuse_outside(self) -> Found:
        detail = f"the path must stay inside {self._guard.folder}, also through links; `links` names further folders"
        return Found(None, reason="outside", detail=detail)

    def _exists(self, name: str) -> bool:
        parent, _, leaf = name.rpartition("/")
        return leaf in self._list(parent).files

    def _match(self, name: str) -> Found | None:
        """Match a name that is not there as it is written; None if nothing fits."""
        found = self._walk(PurePosixPath(name.replace("\\", "/")).parts)
        if not found and "/" not in name and "\\" not in name:
            found = self._search_everywhere(name)
        if len(found) > 1:
            shown = ", ".join(found[:4])
            return Found(
                None, reason="ambiguous", detail=f"{len(found)} files fit this name ({shown}); write one of them"
            )
        if not found:
            return None
        path = self._guard.locate(found[0])
        return Found(path, True) if path is not None else self._refuse_outside()

    def _walk(self, parts: Sequence[str]) -> list[str]:
        """Return the files to which the parts of a path lead if each may be written in another way."""
        folders = [""]
        for part in parts[:-1]:
            folders = [folder + hit + "/" for folder in folders for hit in self._list(folder).match_folder(part)]
        return [folder + hit for folder in folders for hit in self._list(folder).match_file(parts[-1])] if parts else []

    def _search_everywhere(self, name: str) -> list[str]:
        if self._everywhere is None:
            self._everywhere = defaultdict(list)
            for path in self._walk_tree():
                leaf = _fold(path.rpartition("/")[2])
                for key in {leaf, _stem(leaf)}:
                    self._everywhere[key].append(path)
        return self._everywhere.get(_fold(name), [])

    def _walk_tree(self) -> Iterator[str]:
        """Yield the files below the folder in order of their names; links to folders are not followed."""
        if storage.is_remote(self._guard.folder):
            files = storage.file_sizes(self._guard.folder)
            yield from (path.relative_to(self._guard.folder).as_posix() for path in files)
            return
        for parent, folders, names in os.walk(self._guard.folder):
            folders.sort()
            below = os.path.relpath(parent, self._guard.folder)
            yield from (name if below == "." else f"{below}/{name}" for name in sorted(names))

    def _list(self, parent: str) -> "_Listing":
        if parent not in self._listings:
            self._listings[parent] = _Listing(self._guard.find_subfolder(parent))
        return self._listings[parent]


class _Listing:
    """The names in one folder; empty if it does not exist, cannot be read, or lies outside."""

    def __init__(self, folder: str | None) -> None:
        self.files, self.folders = _list_names(folder) if folder is not None else (frozenset[str](), frozenset[str]())
        self._folded: dict[str, list[str]] | None = None
        self._stems: dict[str, list[str]] = {}

    def match_folder(self, part: str) -> list[str]:
        if part in self.folders:
            return [part]
        return sorted(name for name in self.folders if _fold(name) == _fold(part))

    def match_file(self, leaf: str) -> list[str]:
        """Return the names that fit best: as written, folded, or without their extension."""
        if leaf in self.files:
            return [leaf]
        return self._fold_files().get(_fold(leaf), []) or self._stems.get(_fold(leaf), [])

    def _fold_files(self) -> dict[str, list[str]]:
        if self._folded is None:
            self._folded, self._stems = {}, {}
            for name in sorted(self.files):
                folded = _fold(name)
                self._folded.setdefault(folded, []).append(name)
                if (stem := _stem(folded)) != folded:
                    self._stems.setdefault(stem, []).append(name)
        return self._folded


def _list_names(folder: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the files and the folders in a folder or at an address; a link to a folder counts as one."""
    if storage.is_address(folder):
        return storage.list_names(folder)
    try:
        with os.scandir(folder) as entries:
            kinds = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return frozenset(), frozenset()
    return frozenset(name for name, is_folder in kinds if not is_folder), frozenset(name for name, is_ in kinds if is_)


def _read_file_address(address: str) -> str:
    """Return the path in a file: address; of one on another host, a path that lies in no folder."""
    parts = urllib.parse.urlsplit(address)
    return urllib.parse.unquote(parts.path) if parts.netloc in ("", "localhost") else "/"


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return stem if dot + extension in IMAGE_ENDINGS else name


def _refuse_address(scheme: str) -> Found:
    return Found(
        None,
        reason="address",
        detail=f"herbray does not fetch images from {scheme}: addresses; download the images into the folder, and "
        "write their file names into the table",
    )
