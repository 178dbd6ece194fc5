"""What every source of specimens is: a specification that streams rows, and a wall around file names."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

import pyarrow as pa

from herbray.config import Spec
from herbray.schema import CATALOGUE

Refuse: TypeAlias = Callable[[str | None, str | None, str, str], None]
"""`refuse(specimen_id, image, reason, detail)`: hand in an input row that cannot be used; it is kept for quarantine.

`reason` is a short stable code ("outside"), `detail` a sentence for people.
"""

BATCH_ROWS: Final = 65_536
"""Rows of one Arrow batch: large enough for vectorised work, small beside memory."""

_GENUS: Final = re.compile(r"^(?:[×xX]\s+|×)?([^\W\d_a-z][^\W\d_A-Z]+(?:-[^\W\d_]+)?)(?=[\s_]|$)")


class SourceSpec(Spec, ABC):
    """A source of specimens.

    A concrete source narrows `name` to a `Literal`, gives `citation` a default where the data have one,
    and implements `root` and `read`.

    Attributes:
        name: the source's key in `herbray.data.sources.SOURCES`.
        citation: how the data ask to be cited, with a DOI where there is one; every manifest and model card repeats it.
    """

    name: str
    citation: str = ""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder that the images lie below: absolute, links followed. What is stored is named relative to it.

        Raises:
            ValueError: the source is not there.
        """

    @abstractmethod
    def read(self, refuse: Refuse) -> Iterator[pa.RecordBatch]:
        """Stream the specimens.

        Yields:
            Batches with the columns of `herbray.schema.CATALOGUE`. Paths in `image` are absolute; no image is opened.
            Text may be untidy (spaces, empty strings): `herbray.data.catalogue` tidies every source alike.

        Raises:
            ValueError: the source as a whole cannot be read. A single bad row goes to `refuse` instead.
        """


def batch(columns: Mapping[str, Sequence[str | None] | pa.Array]) -> pa.RecordBatch:
    """A batch in the catalogue's schema from the columns that a source has; the others are null.

    Raises:
        ValueError: a column is unknown to the catalogue, or two columns differ in length.
    """
    unknown = sorted(columns.keys() - set(CATALOGUE.names))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such catalogue column; there are {', '.join(CATALOGUE.names)}")
    rows = len(next(iter(columns.values()), ()))
    arrays = [
        pa.array(columns[name], pa.string()) if name in columns else pa.nulls(rows, pa.string())
        for name in CATALOGUE.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=CATALOGUE)


def genus_of(species: str | None) -> str | None:
    """The genus in a species name: its first word, where that is written as a genus is (ICN, Art. 20).

    A genus starts with a capital: "Rubus caesius" gives "Rubus", "× Sorbaronia fallax" gives "Sorbaronia";
    "rubus_caesius", "indet." and "sp. 3" give None, because the first word of a remark is no genus.
    """
    found = _GENUS.match(species) if species else None
    return found[1] if found else None


class Root:
    """A folder that file names from untrusted metadata must not leave.

    Links are judged too, at the price of one directory listing a folder rather than one system call a file;
    no image is opened, and a file that does not exist passes (whoever reads it will tell).
    """

    def __init__(self, folder: Path) -> None:
        """Take `folder`, following links, as the wall."""
        self.folder = folder.resolve()
        self._parents: dict[str, tuple[str, frozenset[str]] | None] = {}

    def locate(self, name: str) -> str | None:
        """The absolute path of `name`, or None where it is absolute, climbs with `..` or leaves through a link."""
        parent, slash, leaf = name.rpartition("/")
        parent += slash  # "/x" is absolute, "x" is not
        if leaf in ("", ".", "..") or "\0" in leaf:
            return None
        if parent not in self._parents:
            self._parents[parent] = self._enter(parent)
        inside = self._parents[parent]
        if inside is None:
            return None
        prefix, links = inside
        whole = f"{prefix}/{leaf}"
        return whole if leaf not in links or self._holds(Path(whole)) else None

    def _enter(self, parent: str) -> tuple[str, frozenset[str]] | None:
        """A subfolder's absolute path and the names in it that are links; None where it lies outside."""
        path = PurePosixPath(parent)
        if path.is_absolute() or ".." in path.parts or "\0" in parent:
            return None
        folder = self.folder / path
        if not self._holds(folder):
            return None
        try:
            with os.scandir(folder) as entries:
                return str(folder), frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:  # absent or unreadable: nothing in it can be reached, so nothing escapes
            return str(folder), frozenset()

    def _holds(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self.folder)
        except (OSError, RuntimeError):  # a loop of links
            return False
