"""The files of an archive, read in place: a zip file, an unpacked folder or a single file. Nothing is extracted."""

import re
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Final

from herbray.data.imaging.zip_member import READ_ERRORS, join_member, split_member
from herbray.data.sources.base import GuardedFolder

MAX_RATIO: Final = 200
"""A zip member may unpack to this multiple of its compressed size; tables of Darwin Core reach 5 to 50."""

FREE_BYTES: Final = 64 << 20
"""Members up to this size may have any ratio."""

MAX_NOTE_BYTES: Final = 16 << 20
"""Largest metadata file."""

_CHUNK: Final = 1 << 18
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_GZIP: Final = b"\x1f\x8b"
_MAX_LISTED: Final = 100_000  # files of a folder


class Container(ABC):
    """The files of an archive by name; "/" separates folders.

    Attributes:
        path: of the archive.
        names: of its files, in order. Of an unpacked folder: those at most one folder below.
        is_packed: whether files are compressed, so that they can only be read from start to end.
    """

    def __init__(self, path: Path, names: list[str], is_packed: bool) -> None:
        """See the class."""
        self.path, self.names, self.is_packed = path, names, is_packed
        self._leaves: dict[str, list[str]] | None = None
        self._folded = {name.lower(): name for name in reversed(names) if name.count("/") < 2}

    def __enter__(self) -> "Container":
        """Return the container."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the archive."""
        self.close()

    def find(self, name: str) -> str | None:
        """The file of this name at the top, or in the archive's only folder; the case of letters does not matter."""
        tops = {each.partition("/")[0] for each in self.names}
        places = [name, f"{next(iter(tops))}/{name}"] if len(tops) == 1 else [name]
        return next((self._folded[place.lower()] for place in places if place.lower() in self._folded), None)

    def read_chunks(self, name: str) -> Iterator[bytes]:
        """Read a file in pieces.

        Raises:
            ValueError: it is damaged, encrypted, or unpacks to more than `MAX_RATIO` allows.
        """
        try:
            with self.open(name) as file:
                while data := file.read(_CHUNK):
                    yield data
        except (*READ_ERRORS, OSError) as error:
            raise ValueError(f"{self.path}: {name} cannot be read ({error}); download the archive again") from None

    def read_note(self, name: str) -> bytes:
        """Read a small file whole; raises what `read_chunks` raises, also if it exceeds `MAX_NOTE_BYTES`."""
        data = bytearray()
        for chunk in self.read_chunks(name):
            data += chunk
            if len(data) > MAX_NOTE_BYTES:
                raise ValueError(
                    f"{self.path}: {name} has more than {MAX_NOTE_BYTES:,} bytes; is this a metadata file?"
                )
        return bytes(data)

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; raises ValueError as `read_chunks` does."""

    @abstractmethod
    def locate(self, name: str) -> str | None:
        """The address of a file for the catalogue; None if it is not there or lies outside."""

    def locate_image(self, base: str, name: str) -> str | None:
        """The address of an image file in the archive, by its path below `base`, else by its name alone if unique."""
        place = self.locate(base + name) if ".." not in PurePosixPath(name).parts else None
        if place is None and "/" not in name:
            found = self._by_leaf().get(name, [])
            return self.locate(found[0]) if len(found) == 1 else None
        return place

    def _by_leaf(self) -> dict[str, list[str]]:
        """Names of the files without their folders → names."""
        if self._leaves is None:
            self._leaves = {}
            for name in self.names:
                self._leaves.setdefault(name.rpartition("/")[2], []).append(name)
        return self._leaves

    @abstractmethod
    def size_of(self, place: str) -> int:
        """The bytes of an image at an address of `locate`; 0 if it is elsewhere."""

    @abstractmethod
    def close(self) -> None:
        """Close the archive."""


class _ZipContainer(Container):
    """A zip file."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ValueError(f"{path}: not a complete zip file ({error}); download it again") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            self._add(path, member)
        self._budget = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
        self._opened: set[str] = set()
        super().__init__(path, list(self._members), is_packed=True)

    def _add(self, path: Path, member: zipfile.ZipInfo) -> None:
        name = member.orig_filename
        if fault := _find_fault(member):
            raise ValueError(
                f"{path}: the archive contains {name!r:.200}, {fault}; herbray does not read such archives"
            )
        if member.is_dir() or name.startswith("__MACOSX/") or name.endswith(".DS_Store"):
            return
        if name in self._members:
            raise ValueError(f"{path}: the archive contains {name!r:.200} twice; it is not clear which one to read")
        self._members[name] = member

    def open(self, name: str) -> IO[bytes]:
        member = self._members[name]
        self._budget -= 0 if name in self._opened else member.file_size
        self._opened.add(name)
        if member.file_size > max(FREE_BYTES, MAX_RATIO * member.compress_size) or self._budget < 0:
            raise ValueError(
                f"{self.path}: {name} would unpack to {member.file_size:,} bytes, more than {MAX_RATIO} times its size "
                "in the archive: it looks like a zip bomb and is not read"
            )
        return self._zip.open(member)

    def locate(self, name: str) -> str | None:
        return join_member(str(self.path.resolve()), name) if name in self._members else None

    def size_of(self, place: str) -> int:
        found = split_member(place)
        return self._members[found[1]].file_size if found and found[1] in self._members else size_on_disk(place)

    def close(self) -> None:
        self._zip.close()


def _find_fault(member: zipfile.ZipInfo) -> str | None:
    """What makes a member unsafe or unreadable."""
    name = member.orig_filename
    if PurePosixPath(name).is_absolute() or _DRIVE.match(name):
        return "an absolute path"
    if "\\" in name or "\0" in name:
        return "a name with a backslash or a NUL"
    if ".." in PurePosixPath(name).parts:
        return "a path out of the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link"
    return "which is encrypted" if member.flag_bits & 1 else None


class _FolderContainer(Container):
    """An unpacked archive, or one file."""

    def __init__(self, path: Path, only: str | None = None) -> None:
        self._root = GuardedFolder(path)
        super().__init__(path, [only] if only else _list_files(path), is_packed=False)

    def open(self, name: str) -> IO[bytes]:
        place = self._root.locate(name)
        if place is None:
            raise ValueError(f"{self.path}: {name} leads out of the folder; herbray does not follow it")
        return Path(place).open("rb")

    def locate(self, name: str) -> str | None:
        place = self._root.locate(name)
        return place if place and Path(place).is_file() else None

    def size_of(self, place: str) -> int:
        return size_on_disk(place)

    def close(self) -> None:
        pass


def size_on_disk(place: str) -> int:
    """The bytes of a file; 0 if it is an address on the web, or not there."""
    try:
        return 0 if "://" in place else Path(place).stat().st_size
    except OSError:
        return 0


def _list_files(path: Path) -> list[str]:
    """The files at the top of a folder and one folder below, sorted."""
    found = []
    for pattern in ("*", "*/*"):
        for place in path.glob(pattern):
            name = place.relative_to(path).as_posix()
            if place.is_file() and not name.startswith("__MACOSX/"):
                found.append(name)
            if len(found) > _MAX_LISTED:
                return sorted(found)
    return sorted(found)


def open_container(path: Path) -> Container:
    """Open an archive; what it is follows from its first bytes, not from its name.

    Raises:
        ValueError: it does not exist, is a tar or gzip file, is no complete zip file, or contains something unsafe.
    """
    try:
        if path.is_dir():
            return _FolderContainer(path)
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such archive; set source.path to a downloaded file or an unpacked folder"
        ) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if start.startswith(_GZIP):
        raise ValueError(f"{path}: a gzip file; unpack it and set source.path to the folder")
    if start.startswith(b"PK"):
        return _ZipContainer(path)
    if not start:
        raise ValueError(f"{path}: the file is empty; download it again")
    return _FolderContainer(path.parent, path.name)
