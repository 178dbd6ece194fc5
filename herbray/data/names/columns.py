"""Tidy the names in a table: every distinct text is read once, and what was changed is told in sentences."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.names.parse import Name, parse_genus, parse_higher, parse_name
from herbray.data.names.titles import lower_titles
from herbray.schema import VERBATIM_NAME

_EXAMPLES: Final = 4  # texts that a sentence quotes


@dataclass(frozen=True)
class TidiedNames:
    """The columns of names after reading, and sentences on what was changed.

    Attributes:
        columns: `order`, `family`, `genus`, `species`, `true_species`, and `verbatim_name`, each as long as the table.
        notes: one sentence per kind of change, with counts of rows and examples.
    """

    columns: dict[str, pa.ChunkedArray]
    notes: list[str]


def tidy_names(table: pa.Table) -> TidiedNames:
    """Read the names of a table.

    If nearly all names of species have a capital epithet, as in "Quercus Rubra", the capitals are those of a title and
    read in lower case. Otherwise a capital is that of an author. A genus or species that cannot be read stays as it
    is written, and a note tells it. A family in the column of genera or species moves to the column `family` if that is
    empty. A genus is taken from the species if its own column has none. A doubtful species is left empty; its genus
    stays.

    Args:
        table: with the columns `order`, `family`, `genus`, `species` and `true_species`, without empty texts.
    """
    genus = _ReadColumn(table["genus"], parse_genus)
    species = _ReadColumn(table["species"], parse_name, lower_titles)
    true = _ReadColumn(table["true_species"], parse_name, lower_titles)
    columns = {rank: map_distinct(table[rank], parse_higher) for rank in ("order", "family")}
    columns["family"] = pc.coalesce(columns["family"], genus.get("family"), species.get("family"))
    columns["genus"] = pc.coalesce(genus.get("genus"), species.get("genus"), genus.get_unread())
    columns["species"] = pc.coalesce(species.get("species"), species.get_unread())
    columns["true_species"] = pc.coalesce(true.get("species"), true.get_unread())
    columns[VERBATIM_NAME] = pc.coalesce(*(table[rank] for rank in ("species", "genus", "family", "order")))
    return TidiedNames(columns, list(_describe(genus, species)))


def map_distinct(column: pa.ChunkedArray, function: Callable[[str], str | None]) -> pa.ChunkedArray:
    """Apply `function` to each text, but call it once per distinct value: names repeat thousands of times."""
    coded = column.combine_chunks().dictionary_encode()
    values = pa.array([function(value) for value in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([values.take(coded.indices)])


class _ReadColumn:
    """A column of names, each distinct text of which is read once."""

    def __init__(
        self,
        column: pa.ChunkedArray,
        read: Callable[[str], Name],
        prepare: Callable[[Collection[str]], Callable[[str], str] | None] = lambda texts: None,
    ) -> None:
        self.column = column
        pairs = column.drop_null().value_counts().to_pylist()
        self.counts = Counter({pair["values"]: pair["counts"] for pair in pairs})
        self.change = prepare(self.counts)
        self.read: Callable[[str], Name] = cache(lambda text: read(self.change(text) if self.change else text))

    def get(self, field: str) -> pa.ChunkedArray:
        """The field of each row's `Name`."""
        return map_distinct(self.column, lambda text: getattr(self.read(text), field))

    def get_unread(self) -> pa.ChunkedArray:
        """The texts that are no names, as they are written."""
        return map_distinct(self.column, lambda text: None if self.read(text).is_read else " ".join(text.split()))

    def count(self, chosen: Callable[[Name], object]) -> Counter[str]:
        """The rows of each text whose `Name` is chosen."""
        return Counter({text: rows for text, rows in self.counts.items() if chosen(self.read(text))})


def _describe(genus: _ReadColumn, species: _ReadColumn) -> Iterator[str]:
    if species.change:
        titles = Counter({text: rows for text, rows in species.counts.items() if species.change(text) != text})
        yield f"{_rows(titles)} with a capital epithet ({_quote(titles)}): read in lower case"
    yield from _describe_spellings(genus, "genus", "genera")
    yield from _describe_spellings(species, "species", "species")
    for column, name in ((genus, "genus"), (species, "species")):
        if families := column.count(lambda read: read.family):
            yield f"{_rows(families)} with a family in the column {name} ({_quote(families)}): read as the family"
        if nothing := column.count(lambda read: read.is_read and not any(read[:3]) and not read.is_doubtful):
            yield f"{_rows(nothing)} without a {name} ({_quote(nothing)}): left empty"
        if unread := column.count(lambda read: not read.is_read):
            yield f"{_rows(unread)} whose {name} cannot be read as a name ({_quote(unread)}): kept as written"
    if doubtful := species.count(lambda read: read.is_doubtful):
        yield f"{_rows(doubtful)} of a doubtful species ({_quote(doubtful)}): the species is left empty"


def _describe_spellings(column: _ReadColumn, field: str, plural: str) -> Iterator[str]:
    """Tell which names were written in several ways: texts that differ in case, or in "_" for a space."""
    spellings: dict[str, list[str]] = {}
    for text in sorted(column.counts):
        if getattr(column.read(text), field) is not None:
            spellings.setdefault(text.casefold().replace("_", " "), []).append(text)
    several = [texts for texts in spellings.values() if len(texts) > 1]
    if several:
        examples = "; ".join(
            f"{', '.join(texts[:_EXAMPLES])} → {getattr(column.read(texts[0]), field)}" for texts in several[:2]
        )
        many = f"1 {field} is" if len(several) == 1 else f"{len(several):,} {plural} are"
        yield f"{many} written in several ways ({examples}): each is one {field}"


def _rows(counts: Counter[str]) -> str:
    total = counts.total()
    return "1 row" if total == 1 else f"{total:,} rows"


def _quote(counts: Counter[str]) -> str:
    """The most frequent texts."""
    frequent = sorted(counts, key=lambda text: (-counts[text], text))
    more = ", …" if len(frequent) > _EXAMPLES else ""
    return ", ".join(repr(text) for text in frequent[:_EXAMPLES]) + more
