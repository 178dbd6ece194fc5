"""A folder of images beside a CSV file of labels: the plainest way in for a herbarium's own sheets."""

import csv
import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from herbray.data.sources.base import BATCH_ROWS, Refuse, Root, SourceSpec, batch
from herbray.schema import CATALOGUE

_ENCODING: Final = "utf-8-sig"  # UTF-8, with or without the byte order mark that spreadsheets write


class Folder(SourceSpec):
    """Images in a folder, described by a CSV file (RFC 4180, UTF-8, one header line).

    A catalogue column is taken from the CSV column that `columns` names, else from `constants`, else from the CSV
    column of its own name; otherwise it is null. Without a `specimen_id` the image's relative path serves as one.
    Names are kept as they are written ("zea_mays" stays so, and gives no genus): map a genus column where there is one.

    Attributes:
        path: the folder; image paths in the CSV file are relative to it and must stay inside.
        labels: the CSV file, relative to the folder.
        columns: catalogue column → CSV column, e.g. `{image: file, gathering: sheet}`.
        constants: catalogue column → one text for all rows, e.g. `{institution: K}`.
        delimiter: what separates the fields of a line.
    """

    name: Literal["folder"] = "folder"
    path: Path
    labels: str = "labels.csv"
    columns: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @field_validator("columns", "constants")
    @classmethod
    def _known(cls, mapping: dict[str, str]) -> dict[str, str]:
        for name in mapping:
            if name not in CATALOGUE.names:
                near = difflib.get_close_matches(name, CATALOGUE.names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CATALOGUE.names)}"
                raise ValueError(f"{name!r} is no catalogue column; {hint}")
        return mapping

    @model_validator(mode="after")
    def _once(self) -> "Folder":
        twice = sorted(self.columns.keys() & self.constants.keys())
        if twice:
            raise ValueError(f"{', '.join(twice)}: in both `columns` and `constants`; keep one")
        return self

    @property
    def root(self) -> Path:
        """The folder."""
        return self.path.resolve()

    def read(self, refuse: Refuse) -> Iterator[pa.RecordBatch]:
        """Stream the CSV file; see `SourceSpec.read`.

        Refused: a line with too few or too many fields ("fields"), an image path that leaves the folder ("outside").

        Raises:
            ValueError: the file is absent, is not UTF-8, is broken CSV (with its line), or lacks a column.
        """
        path = self.path / self.labels
        records = _records(path, self.delimiter)
        _, header = next(records, (1, []))
        places = self._places(path, header)
        root = Root(self.path)
        while chunk := list(itertools.islice(records, BATCH_ROWS)):
            rows = []
            for line, fields in chunk:
                if len(fields) == len(header):
                    rows.append(fields)
                else:
                    detail = f"{self.labels}, line {line}: {len(fields)} fields where the header has {len(header)}"
                    refuse(None, None, "fields", detail)
            yield self._batch(rows, places, root, refuse)

    def _places(self, path: Path, header: Sequence[str]) -> dict[str, int]:
        """Catalogue column → position in a line of the CSV file."""
        names = [name.strip() for name in header]
        if not any(names):
            raise ValueError(f"{path}: empty; write a header line, then one line an image")
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise ValueError(f"{path}: the header names {', '.join(twice)} more than once; rename one")
        places = {}
        for column in CATALOGUE.names:
            wanted = self.columns.get(column, column)
            if wanted in names and column not in self.constants:
                places[column] = names.index(wanted)
            elif column in self.columns or (column == "image" and column not in self.constants):
                raise ValueError(
                    f"{path}: no column {wanted!r}; there are {', '.join(map(repr, names))}. "
                    f"Name the one that holds the {column}, e.g. columns={{{column}: {names[0]}}}"
                )
        if "image" not in places:
            raise ValueError(f"{path}: `constants` gives every row the same image; name a column instead")
        return places

    def _batch(self, rows: Sequence[list[str]], places: dict[str, int], root: Root, refuse: Refuse) -> pa.RecordBatch:
        cells = {column: [row[place] for row in rows] for column, place in places.items()}
        names = [name.strip() for name in cells["image"]]
        identities = cells.setdefault("specimen_id", names)
        found = [root.locate(name) if name else "" for name in names]  # a missing path is the catalogue's to refuse
        for identity, name, image in zip(identities, names, found, strict=True):
            if image is None:
                refuse(identity, name, "outside", f"the path must stay inside {self.path}, also through links")
        cells["image"] = [image or "" for image in found]
        cells.update((column, [text] * len(rows)) for column, text in self.constants.items())
        if None not in found:
            return batch(cells)
        keep = [image is not None for image in found]
        return batch({column: list(itertools.compress(values, keep)) for column, values in cells.items()})


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record of a CSV file with the line on which it starts; blank lines are passed over."""
    try:
        with path.open(encoding=_ENCODING, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            while True:
                line = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise ValueError(
                        f"{path}, line {line}: broken CSV ({error}); look for a quote that is not closed or not doubled"
                    ) from None
                if fields:
                    yield line, fields
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; `path` and `labels` say where the table of labels lies") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {_undecodable(path)}: not UTF-8 ({error.reason}); save the table again as CSV in UTF-8"
        ) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8: the decoder reads ahead, so the CSV reader's own count would mislead."""
    with path.open("rb") as file:
        for line, text in enumerate(file, start=1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
    return 1
