"""Rows of a table as mappings of terms, whether the table is text or Parquet."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.layout import Dialect, Table, fold_term
from herbray.data.sources.darwin_core.archive.parquet import read_parquet
from herbray.data.sources.darwin_core.archive.records import Record, split_records
from herbray.data.sources.darwin_core.ledger import Ledger

KEY: Final = ""
"""The key in a row of the id of the core row."""

Row: TypeAlias = dict[str, str]
"""Term → value without outer blanks, "" where there is none; `KEY` → the id of the core row."""


def read_rows(box: Container, table: Table, terms: Sequence[str], ledger: Ledger) -> Iterator[tuple[int, Row]]:
    """Stream a table.

    The ledger counts every row; those that cannot be read are refused there.

    Args:
        box: the archive.
        table: in it.
        terms: to read; a term that the table lacks is "" in all rows.
        ledger: receives counts and refusals.

    Yields:
        Number of the row's first line, and the row.

    Raises:
        ValueError: a file is damaged, or its header contradicts the descriptor.
    """
    tally = ledger.tally(table.name)
    for file in table.files:
        if table.dialect is None:
            for number, row in read_parquet(box, file, table, terms):
                tally.rows += 1
                yield number, row
        else:
            yield from _read_text(box, table, file, terms, ledger)


def _read_text(
    box: Container, table: Table, file: str, terms: Sequence[str], ledger: Ledger
) -> Iterator[tuple[int, Row]]:
    dialect = table.dialect or Dialect()
    tally = ledger.tally(table.name)

    def reject(line: int, reason: str, detail: str) -> None:
        tally.rows += 1
        ledger.refuse(table.name, line, reason, detail)

    records = split_records(box.read_chunks(file), dialect, table.min_width, reject)
    for _ in range(dialect.header_lines):
        _check_header(box, table, next(records, None))
    pick = _make_picker(table, terms)
    for number, fields in records:
        tally.rows += 1
        yield number, pick(fields)


def _make_picker(table: Table, terms: Sequence[str]) -> Callable[[list[str]], Row]:
    """A function from the fields of a record to a row."""
    single = [(term, table.columns[term][0]) for term in terms if len(table.columns.get(term, ())) == 1]
    several = [(term, table.columns[term]) for term in terms if len(table.columns.get(term, ())) > 1]
    empty = dict.fromkeys(terms, "")
    defaults = [(term, table.defaults[term]) for term in terms if term in table.defaults]
    if table.key is not None:
        single.append((KEY, table.key))

    def pick(fields: list[str]) -> Row:
        row = empty | {term: fields[column].strip() for term, column in single}
        for term, columns in several:
            row[term] = next((fields[column].strip() for column in columns if fields[column].strip()), "")
        for term, value in defaults:
            row[term] = row[term] or value
        return row

    return pick


def _check_header(box: Container, table: Table, header: Record | None) -> None:
    """Check that the columns are where the descriptor says.

    Raises:
        ValueError: the header has a term in another column.
    """
    names = [fold_term(name) for name in header[1]] if header else []
    for term, columns in table.columns.items():
        for column in columns:
            if column < len(names) and names[column] != term and names.count(term) == 1:
                raise ValueError(
                    f"{box.path}: the descriptor says that column {column + 1} of {table.name} is {term}, but its "
                    f"header has {term} in column {names.index(term) + 1}: the columns are shifted; correct meta.xml"
                )
