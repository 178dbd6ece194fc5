"""Interface of sources of specimens: a specification that streams rows; and protection against unsafe file names."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

import pyarrow as pa

from herbray.config import Spec
from herbray.schema import CATALOGUE, MASK_BOXES, MASKED_CATALOGUE

Refuse: TypeAlias = Callable[[str | None, str | None, str, str], None]
"""`refuse(specimen_id, image, reason, detail)`: report an input row that cannot be used, for the quarantine table.

`reason` is a short stable code ("outside"), `detail` a sentence for the user.
"""

BATCH_ROWS: Final = 65_536
"""Rows per Arrow batch: large enough for vectorised work, small compared to memory."""

_GENUS: Final = re.compile(r"^(?:[×xX]\s+|×)?([^\W\d_a-z][^\W\d_A-Z]+(?:-[^\W\d_]+)?)(?=[\s_]|$)")


class SourceSpec(Spec, ABC):
    """A source of specimens.

    A concrete source narrows `name` to a `Literal`, gives `citation` a default if the data have a citation, and
    implements `root` and `read`.

    Attributes:
        name: the source's key in `herbray.data.sources.SOURCES`.
        citation: citation of the data, with a DOI if there is one; every manifest and model card repeats it.
    """

    name: str
    citation: str = ""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder that contains the images: absolute, with links resolved. Stored names are relative to it.

        Raises:
            ValueError: the source does not exist.
        """

    @abstractmethod
    def read(self, refuse: Refuse) -> Iterator[pa.RecordBatch]:
        """Stream the specimens.

        Yields:
            Batches with the columns of `herbray.schema.CATALOGUE`, or all of them with the columns of
            `herbray.schema.MASKED_CATALOGUE`. Paths in `image` are absolute; no image is opened.
            Text may be untidy (spaces, empty strings): `herbray.data.catalogue` tidies the rows of all sources.

        Raises:
            ValueError: the source as a whole cannot be read. Single bad rows go to `refuse` instead.
        """


def make_batch(columns: Mapping[str, Sequence[str | None] | pa.Array]) -> pa.RecordBatch:
    """Make a batch in the catalogue's schema from the columns that a source has; other columns are null.

    The batch has the optional column `mask_boxes` only if the source has it.

    Raises:
        ValueError: the catalogue has no such column, or two columns differ in length.
    """
    unknown = sorted(columns.keys() - set(MASKED_CATALOGUE.names))
    if unknown:
        names = ", ".join(MASKED_CATALOGUE.names)
        raise ValueError(f"{', '.join(unknown)}: no such catalogue column; choose from {names}")
    schema = MASKED_CATALOGUE if MASK_BOXES in columns else CATALOGUE
    rows = len(next(iter(columns.values()), ()))
    arrays = [
        pa.array(columns[name], pa.string()) if name in columns else pa.nulls(rows, pa.string())
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def parse_genus(species: str | None) -> str | None:
    """Parse the genus in a species name: the first word, if it is written like a genus (ICN, Art. 20).

    A genus starts with a capital: "Rubus caesius" gives "Rubus", "× Sorbaronia fallax" gives "Sorbaronia";
    "rubus_caesius", "indet." and "sp. 3" give None, because the first word of a remark is not a genus.
    """
    match = _GENUS.match(species) if species else None
    return match[1] if match else None


class GuardedFolder:
    """A folder that file names from untrusted metadata must not leave.

    Links are checked too, with one directory listing per folder instead of one system call per file. No image is
    opened, and the name of a file that does not exist is accepted (reading it will fail later).
    """

    def __init__(self, folder: Path) -> None:
        """Guard `folder`, with links resolved."""
        self.folder = folder.resolve()
        self._subfolders: dict[str, tuple[str, frozenset[str]] | None] = {}

    def locate(self, name: str) -> str | None:
        """Return the absolute path of `name`; None if `name` is absolute, contains `..` or leaves through a link."""
        parent, slash, leaf = name.rpartition("/")
        parent += slash  # "/x" is absolute, "x" is not
        if leaf in ("", ".", "..") or "\0" in leaf:
            return None
        if parent not in self._subfolders:
            self._subfolders[parent] = self._list_links(parent)
        subfolder = self._subfolders[parent]
        if subfolder is None:
            return None
        prefix, links = subfolder
        path = f"{prefix}/{leaf}"
        return path if leaf not in links or self._contains(Path(path)) else None

    def _list_links(self, parent: str) -> tuple[str, frozenset[str]] | None:
        """Return a subfolder's absolute path and the names in it that are links; None if it lies outside."""
        path = PurePosixPath(parent)
        if path.is_absolute() or ".." in path.parts or "\0" in parent:
            return None
        folder = self.folder / path
        if not self._contains(folder):
            return None
        try:
            with os.scandir(folder) as entries:
                return str(folder), frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:  # missing or unreadable: no file in it can be reached
            return str(folder), frozenset()

    def _contains(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self.folder)
        except (OSError, RuntimeError):  # the links form a loop
            return False
