"""A folder of images with a CSV file of labels: the simplest source for a herbarium's own sheets."""

import csv
import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from herbray.data.sources.base import BATCH_ROWS, GuardedFolder, Refuse, SourceSpec, make_batch
from herbray.schema import MASKED_CATALOGUE

_ENCODING: Final = "utf-8-sig"  # UTF-8, with or without the byte order mark that spreadsheets write


class Folder(SourceSpec):
    """Images in a folder, described by a CSV file (RFC 4180, UTF-8, one header line).

    A catalogue column is taken from the CSV column that `columns` names, else from `constants`, else from the CSV
    column of the same name; otherwise it is null. Without a `specimen_id`, the image's relative path is the id. Names
    are kept as written ("zea_mays" is not changed and gives no genus): map the genus column if there is one. The column
    `mask_boxes` says which parts of a sheet `shard.mask` paints over (`herbray.data.imaging.boxes`).

    Attributes:
        path: the folder; image paths in the CSV file are relative to it and must stay inside.
        labels: the CSV file, relative to the folder.
        columns: catalogue column → CSV column, e.g. `{image: file, gathering: sheet}`.
        constants: catalogue column → value for all rows, e.g. `{institution: K}`.
        delimiter: separator of the fields of a line.
    """

    name: Literal["folder"] = "folder"
    path: Path
    labels: str = "labels.csv"
    columns: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @field_validator("columns", "constants")
    @classmethod
    def _check_columns(cls, mapping: dict[str, str]) -> dict[str, str]:
        for name in mapping:
            if name not in MASKED_CATALOGUE.names:
                near = difflib.get_close_matches(name, MASKED_CATALOGUE.names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(MASKED_CATALOGUE.names)}"
                raise ValueError(f"{name!r} is not a catalogue column; {hint}")
        return mapping

    @model_validator(mode="after")
    def _check_conflicts(self) -> "Folder":
        repeated = sorted(self.columns.keys() & self.constants.keys())
        if repeated:
            raise ValueError(f"{', '.join(repeated)}: in both `columns` and `constants`; keep one")
        return self

    @property
    def root(self) -> Path:
        """The folder."""
        return self.path.resolve()

    def read(self, refuse: Refuse) -> Iterator[pa.RecordBatch]:
        """Stream the CSV file; see `SourceSpec.read`.

        Refused: a line with too few or too many fields ("fields"), an image path that leaves the folder ("outside").

        Raises:
            ValueError: the file is missing, is not UTF-8, is malformed CSV (with the line number), or lacks a column.
        """
        path = self.path / self.labels
        records = _read_records(path, self.delimiter)
        _, header = next(records, (1, []))
        positions = self._find_positions(path, header)
        root = GuardedFolder(self.path)
        while chunk := list(itertools.islice(records, BATCH_ROWS)):
            rows = []
            for line, fields in chunk:
                if len(fields) == len(header):
                    rows.append(fields)
                else:
                    detail = f"{self.labels}, line {line}: {len(fields)} fields where the header has {len(header)}"
                    refuse(None, None, "fields", detail)
            yield self._batch(rows, positions, root, refuse)

    def _find_positions(self, path: Path, header: Sequence[str]) -> dict[str, int]:
        """Return catalogue column → position in a line of the CSV file."""
        names = [name.strip() for name in header]
        if not any(names):
            raise ValueError(f"{path}: empty; write a header line, then one line per image")
        repeated = sorted({name for name in names if name and names.count(name) > 1})
        if repeated:
            raise ValueError(f"{path}: the header names {', '.join(repeated)} more than once; rename one")
        positions = {}
        for column in MASKED_CATALOGUE.names:
            wanted = self.columns.get(column, column)
            if wanted in names and column not in self.constants:
                positions[column] = names.index(wanted)
            elif column in self.columns or (column == "image" and column not in self.constants):
                raise ValueError(
                    f"{path}: no column {wanted!r}; the columns are {', '.join(map(repr, names))}. "
                    f"Name the column that holds the {column}, e.g. columns={{{column}: {names[0]}}}"
                )
        if "image" not in positions:
            raise ValueError(f"{path}: `constants` gives all rows the same image; name a column instead")
        return positions

    def _batch(
        self, rows: Sequence[list[str]], positions: dict[str, int], root: GuardedFolder, refuse: Refuse
    ) -> pa.RecordBatch:
        cells = {column: [row[position] for row in rows] for column, position in positions.items()}
        names = [name.strip() for name in cells["image"]]
        identities = cells.setdefault("specimen_id", names)
        found = [
            root.locate(name) if name else "" for name in names
        ]  # rows without an image are refused by the catalogue
        for identity, name, image in zip(identities, names, found, strict=True):
            if image is None:
                refuse(identity, name, "outside", f"the path must stay inside {self.path}, also through links")
        cells["image"] = [image or "" for image in found]
        cells.update((column, [text] * len(rows)) for column, text in self.constants.items())
        if None not in found:
            return make_batch(cells)
        keep = [image is not None for image in found]
        return make_batch({column: list(itertools.compress(values, keep)) for column, values in cells.items()})


def _read_records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record of a CSV file with the number of its first line; blank lines are skipped."""
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
                        f"{path}, line {line}: malformed CSV ({error}); look for an unclosed or undoubled quote"
                    ) from None
                if fields:
                    yield line, fields
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file; set `path` and `labels` to the location of the table of labels"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {_find_undecodable_line(path)}: not UTF-8 ({error.reason}); save it again as CSV in UTF-8"
        ) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


def _find_undecodable_line(path: Path) -> int:
    """Find the first line that is not UTF-8; the CSV reader's line number is wrong because the decoder reads ahead."""
    with path.open("rb") as file:
        for line, text in enumerate(file, start=1):
            try:
                text.decode()
            except UnicodeDecodeError:
                return line
    return 1
