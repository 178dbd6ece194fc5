"""What an archive declares: its tables, and the dialect of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Dialect:
    """How the records of a text file are written.

    Attributes:
        delimiter: one character between fields.
        quote: the character around fields; empty: none, quotation marks are text.
        encoding: of the text, a name that Python knows.
        line_end: between records.
        header_lines: number of records at the start of each file that are no data.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    line_end: str = "\n"
    header_lines: int = 1


@dataclass(frozen=True)
class Table:
    """One table of an archive.

    Attributes:
        name: as the archive writes it, for messages.
        files: the table's files in the archive, read one after the other.
        row_type: what a row is: the last part of the row type's address in small letters, such as "occurrence".
        dialect: of the text; None: Parquet.
        columns: term → numbers of its columns, from 0. Terms are names without a namespace, in small letters.
        defaults: term → value where the column is empty or missing.
        separators: term → separator of the items of its lists.
        key: number of the column with the id of the core row; None: there is none.
    """

    name: str
    files: tuple[str, ...]
    row_type: str
    dialect: Dialect | None
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    separators: Mapping[str, str] = field(default_factory=dict)
    key: int | None = None

    @property
    def min_width(self) -> int:
        """The number of fields that a record must have for all columns to exist."""
        return 1 + max((*(n for numbers in self.columns.values() for n in numbers), self.key or 0))

    def with_encoding(self, encoding: str) -> "Table":
        """The table in another encoding than the declared one."""
        return replace(self, dialect=replace(self.dialect, encoding=encoding)) if self.dialect else self


@dataclass(frozen=True)
class Layout:
    """The tables that herbray reads of an archive.

    Attributes:
        kind: "Darwin Core Archive", "GBIF SIMPLE_CSV", "GBIF SIMPLE_PARQUET" or "Darwin Core Data Package".
        base: the folder in the archive that the names of images are relative to; empty or ending in "/".
        core: one row per occurrence or, in a data package, per preserved object.
        media: one row per image, with the id of its core row or, if there are `links`, its own id.
        links: tables of pairs of an image's id and a core row's id, in a data package.
        verbatim: tables with what the publisher wrote, beside those that a portal interpreted.
        facts: tables that complete the core rows of a data package: event, occurrence, identification.
        unread: names of tables that herbray does not use.
        absent: files that are declared but not there, of tables that herbray can do without.
        metadata: the file with the citation; None: none is declared.
    """

    kind: str
    base: str
    core: Table
    media: tuple[Table, ...] = ()
    links: tuple[Table, ...] = ()
    verbatim: tuple[Table, ...] = ()
    facts: tuple[Table, ...] = ()
    unread: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    metadata: str | None = None


def fold_term(term: str) -> str:
    """The name of a term: without its namespace, in small letters. "dwc:genus" and ".../terms/genus" give "genus"."""
    return term.strip().strip('"').rstrip("/#").replace("#", "/").rpartition("/")[2].rpartition(":")[2].lower()


def number_columns(names: list[str]) -> dict[str, tuple[int, ...]]:
    """Term → numbers of its columns, from the names in a header."""
    columns: dict[str, tuple[int, ...]] = {}
    for number, name in enumerate(names):
        term = fold_term(name)
        columns[term] = (*columns.get(term, ()), number)
    return columns
