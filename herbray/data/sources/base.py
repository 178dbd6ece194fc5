"""Interface of sources of specimens: a specification that streams rows; and protection against unsafe file names."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

import pyarrow as pa

from herbray import storage
from herbray.config import Spec
from herbray.schema import CATALOGUE, MASK_BOXES, MASKED_CATALOGUE

Refuse: TypeAlias = Callable[[str | None, str | None, str, str], None]
"""`refuse(specimen_id, image, reason, detail)`: report an input row that cannot be used, for the quarantine table.

`reason` is a short stable code ("outside"), `detail` a sentence for the user.
"""


@dataclass
class Account:
    """What a source says about its data beside the rows, for the manifest.

    Attributes:
        skipped: reason → number of input rows that are left out but not refused, such as records without an image.
        facts: what the source knows about the data; "citation" is used if the settings give none.
        tables: name → further table to write beside the catalogue.
    """

    skipped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pa.Table] = field(default_factory=dict)


BATCH_ROWS: Final = 65_536
"""Rows per Arrow batch: large enough for vectorised work, small compared to memory."""


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
    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the specimens.

        Args:
            refuse: receives bad rows.
            account: receives what the source says about its data, complete when the last batch is read.

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


class GuardedFolder:
    """A folder that file names from untrusted metadata must not leave.

    Links are checked too, with one directory listing per folder instead of one system call per file. No image is
    opened, and the name of a file that does not exist is accepted (reading it will fail later).
    """

    def __init__(self, folder: Path, links: Sequence[Path] = ()) -> None:
        """Guard `folder`, with links resolved; links in it may also lead into the folders `links`.

        A bucket has no links.
        """
        self.folder = folder if storage.is_remote(folder) else folder.resolve()
        self._allowed = (self.folder, *(link.resolve() for link in links))
        self._subfolders: dict[str, tuple[str, frozenset[str]] | None] = {}

    def locate(self, name: str) -> str | None:
        """Return the absolute path or the address of `name`.

        None: `name` is absolute, contains `..` or leaves through a link.
        """
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

    def find_subfolder(self, name: str) -> str | None:
        """Return the path or address of a subfolder, which need not exist; None if it lies outside."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return None
        folder = self.folder / path
        if storage.is_remote(folder):
            return storage.show(folder)
        return str(folder) if self._contains(folder) else None

    def _list_links(self, parent: str) -> tuple[str, frozenset[str]] | None:
        """Return a subfolder's absolute path and the names in it that are links; None if it lies outside."""
        folder = self.find_subfolder(parent)
        if folder is None:
            return None
        try:
            with os.scandir(folder) as entries:
                return folder, frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:  # missing or unreadable: no file in it can be reached
            return folder, frozenset()

    def _contains(self, path: Path) -> bool:
        try:
            resolved = path.resolve()
            return any(resolved.is_relative_to(folder) for folder in self._allowed)
        except (OSError, RuntimeError):  # the links form a loop
            return False
