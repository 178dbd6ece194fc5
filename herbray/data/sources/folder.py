"""A folder of images with a table of labels: the simplest source for a herbarium's own sheets."""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from herbray import storage
from herbray.data.duplicates.gathering_key import make_gathering_key
from herbray.data.sources.base import BATCH_ROWS, Account, Refuse, SourceSpec, make_batch
from herbray.data.sources.image_finder import Found, ImageFinder
from herbray.data.tabular.header import fold, propose
from herbray.data.tabular.reading import Dialect, OpenTable, open_table
from herbray.data.tabular.records import BLANK
from herbray.data.tabular.separators import NAMES
from herbray.schema import MASKED_CATALOGUE

GATHERING_PARTS: Final = ("recorded_by", "record_number", "event_date")
"""Columns of a table from which the gathering is made: collector, number and date."""

_COLUMNS: Final = (*MASKED_CATALOGUE.names, *GATHERING_PARTS)

_TABLES: Final = (".csv", ".tsv", ".txt", ".tab", ".xlsx", ".xls", ".xlsm", ".ods", ".parquet")


class Folder(SourceSpec):
    """Images in a folder, described by a table: delimited text, a workbook (`.xlsx`, `.ods`, …) or Parquet.

    Separator, quotes and encoding of a text are found out (`herbray.data.tabular`). A catalogue column is taken from
    the column that `columns` names, else from `constants`, else from the column of the same name; otherwise it is null.
    Names of columns match in any case and with any blanks. Without a `gathering`, it is made from the collector, the
    number and the date, if the table has the columns `recorded_by` and `record_number`, and perhaps `event_date`, or
    `columns` names them (`herbray.data.duplicates.gathering_key`). Without a `specimen_id`, the image's relative path
    is the id. The column `mask_boxes` says which parts of a sheet `shard.mask` paints over
    (`herbray.data.imaging.boxes`).

    Attributes:
        path: the folder; image paths in the table are relative to it and must stay inside. See `ImageFinder` for how
            a file is found.
        labels: the table, relative to the folder.
        columns: catalogue column → column of the table, e.g. `{image: file, gathering: sheet}`.
        constants: catalogue column → value for all rows, e.g. `{institution: K}`.
        delimiter: separator of the fields of a line: a character, or `tab`; null: found out.
        encoding: of a text, e.g. `cp1252`; null: UTF-8, or UTF-16 with a byte order mark.
        sheet: of a workbook; null: the only one that is not empty.
        links: further folders into which links in the folder may lead, e.g. a data store of git-annex or DVC.
    """

    name: Literal["folder"] = "folder"
    path: Path
    labels: str = "labels.csv"
    columns: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    links: tuple[Path, ...] = ()

    @field_validator("columns", "constants")
    @classmethod
    def _check_columns(cls, mapping: dict[str, str]) -> dict[str, str]:
        for name in mapping:
            if name not in _COLUMNS:
                near = difflib.get_close_matches(name, _COLUMNS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(_COLUMNS)}"
                raise ValueError(f"{name!r} is not a catalogue column; {hint}")
        return mapping

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, text: str | None) -> str | None:
        by_name = {name: separator for separator, name in NAMES.items()}
        separator = by_name.get(text, text) if text is not None else None
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise ValueError(f"a delimiter is one character, or one of: {', '.join(by_name)}")
        return separator

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str | None) -> str | None:
        try:
            "".encode(name or "utf-8")
        except LookupError:
            raise ValueError("no such encoding; usual ones are utf-8, utf-16, cp1252, mac_roman") from None
        return name

    @model_validator(mode="after")
    def _check_conflicts(self) -> "Folder":
        repeated = sorted(self.columns.keys() & self.constants.keys())
        if repeated:
            raise ValueError(f"{', '.join(repeated)}: in both `columns` and `constants`; keep one")
        return self

    @property
    def root(self) -> Path:
        """The folder."""
        return self.path if storage.is_remote(self.path) else self.path.resolve()

    @property
    def table(self) -> Path:
        """The table of labels."""
        return self.path / self.labels

    @property
    def dialect(self) -> Dialect:
        """What the settings say about the table."""
        return Dialect(self.delimiter, self.encoding, self.sheet)

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the table; see `SourceSpec.read`.

        Refused, with the line: a row with too few or too many fields ("fields") or stray quotes ("quote"); an image
        whose path leaves the folder ("outside"), is an address not of the web ("address"), or fits several files
        ("ambiguous").

        Raises:
            ValueError: the table is missing, cannot be decoded, lacks a column or names one twice.
        """

        def report(line: int, reason: str, detail: str) -> None:
            if reason == BLANK:
                (account or Account()).skipped[BLANK] += 1
                return
            refuse(None, None, reason, f"{self.labels}, line {line}: {detail}")

        if not storage.is_file(self.table):
            raise ValueError(f"{self.table}: no such file; {self._suggest_table()}")
        table = open_table(self.table, report, self.dialect)
        positions = self.find_columns(table)
        finder = ImageFinder(self.path, self.links)
        while chunk := list(itertools.islice(table.records, BATCH_ROWS)):
            yield self._batch([fields for _, fields in chunk], positions, finder, refuse)

    def find_columns(self, table: OpenTable) -> dict[str, int]:
        """Return catalogue column, or part of a gathering → position in a row of the table.

        Raises:
            ValueError: a column that `columns` names is not there, or none holds the images.
        """
        positions = {}
        for column in _COLUMNS:
            wanted = self.columns.get(column, column)
            place = table.positions.get(fold(wanted))
            if place is None and column in GATHERING_PARTS:
                place = table.positions.get(wanted.replace("_", ""))  # recordedBy
            if place is not None and column not in self.constants:
                positions[column] = place
            elif column in self.columns or (column == "image" and column not in self.constants):
                raise ValueError(_explain_missing(table, column, wanted))
        if "image" not in positions:
            raise ValueError(f"{table.path}: `constants` gives all rows the same image; name a column instead")
        collected = not {"gathering"} & {*positions, *self.constants} and {*GATHERING_PARTS[:2]} <= positions.keys()
        return {name: place for name, place in positions.items() if collected or name not in GATHERING_PARTS}

    def _batch(
        self, rows: Sequence[list[str]], positions: dict[str, int], finder: ImageFinder, refuse: Refuse
    ) -> pa.RecordBatch:
        cells = {column: [row[position] for row in rows] for column, position in positions.items()}
        parts = [cells.pop(name, [""] * len(rows)) for name in GATHERING_PARTS]
        if any(name in positions for name in GATHERING_PARTS):
            cells["gathering"] = [make_gathering_key(*part) or "" for part in zip(*parts, strict=True)]
        names = [name.strip() for name in cells["image"]]
        places = [
            finder.find(name) if name else Found("") for name in names
        ]  # the catalogue refuses rows without image
        images = [found.path for found in places]
        root = f"{self.root}/"
        identities = cells.setdefault("specimen_id", [(image or "").removeprefix(root) for image in images])
        for identity, name, found in zip(identities, names, places, strict=True):
            if found.path is None:
                refuse(identity or name, name, found.reason, found.detail)
        cells["image"] = [image or "" for image in images]
        cells.update((column, [text] * len(rows)) for column, text in self.constants.items())
        if None not in images:
            return make_batch(cells)
        keep = [image is not None for image in images]
        return make_batch({column: list(itertools.compress(values, keep)) for column, values in cells.items()})

    def _suggest_table(self) -> str:
        """Say what to set if the table is not there: a table that is, if there is one."""
        if not storage.is_folder(self.path):
            return "set `path` to the folder of the images"
        found = sorted(path.name for path in storage.glob(self.path, "*") if path.suffix.lower() in _TABLES)
        return f"set labels={found[0]}" if found else "set `path` and `labels` to the location of the table of labels"


def _explain_missing(table: OpenTable, column: str, wanted: str) -> str:
    names = ", ".join(repr(name.strip()) for name in table.header)
    proposed = propose(column, table.header) or next(name.strip() for name in table.header if name.strip())
    return (
        f"{table.path} ({table.kind}): no column {wanted!r}; the columns are {names}. "
        f"Name the column that holds the {column}, e.g. columns={{{column}: {proposed}}}"
    )
