"""Tables of names that the user gives: genera with their families and orders, and synonyms with accepted names."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.names.columns import map_distinct
from herbray.data.names.parse import parse_genus, parse_higher, parse_name
from herbray.data.tabular.reading import open_table

_SHOWN: Final = 4  # names that a sentence quotes
_BETWEEN: Final = "\0"  # separates two names in one text

Columns = dict[str, pa.ChunkedArray]
"""Columns of a catalogue by name."""


@dataclass(frozen=True)
class Coverage:
    """The columns after a lookup, and a sentence on what the table covers."""

    columns: Columns
    note: str


def fill_lineages(columns: Columns, path: Path) -> Coverage:
    """Fill missing families and orders from a table of genera.

    A family that a row has stays, also if the table has another. A genus that the table lists with several families
    (a homonym) gets an order only if the row's own family says which one is meant.

    Args:
        columns: `order`, `family` and `genus` of a catalogue.
        path: table with the columns genus, family and order.

    Raises:
        ValueError: the table cannot be read or lacks a column.
    """
    lineages = _read_lineages(path)
    pairs = pc.binary_join_element_wise(columns["genus"], pc.fill_null(columns["family"], ""), _BETWEEN)
    found = {
        rank: map_distinct(pairs, lambda pair, place=place: _choose(lineages, pair)[place])  # type: ignore[misc]
        for place, rank in enumerate(("family", "order"))
    }
    filled = {rank: pc.coalesce(columns[rank], values) for rank, values in found.items()}
    many = {rank: columns[rank].null_count - values.null_count for rank, values in filled.items()}
    differs = pc.fill_null(pc.not_equal(columns["family"], found["family"]), False)
    genera = pc.unique(columns["genus"]).drop_null().to_pylist()
    parts = [
        f"{sum(genus in lineages for genus in genera):,} of {len(genera):,} genera found",
        f"families filled in {many['family']:,} rows, orders in {many['order']:,}",
        *_list("not found", [genus for genus in genera if genus not in lineages]),
        *_list("in several families, not guessed", [genus for genus in genera if len(lineages.get(genus, ())) > 1]),
        *_list("genera with another family, kept", columns["genus"].filter(differs).unique().to_pylist()),
    ]
    return Coverage(filled, f"{path.name}: {'; '.join(parts)}")


def replace_synonyms(columns: Columns, path: Path) -> Coverage:
    """Replace synonyms by accepted names, species before genera.

    An accepted species brings its genus. A genus that is a synonym is replaced in the column of genera only: the name
    of the species under the accepted genus is not guessed. A synonym of several accepted names is left as it is.

    Args:
        columns: `genus` and `species` of a catalogue.
        path: table with the columns name and accepted.

    Raises:
        ValueError: the table cannot be read or lacks a column, or synonyms form a circle.
    """
    accepted, homonyms = read_synonyms(path)
    species = map_distinct(columns["species"], accepted.get)
    genus = map_distinct(species, lambda name: parse_name(name).genus)
    renamed = pc.coalesce(genus, map_distinct(columns["genus"], accepted.get))
    result = {"species": pc.coalesce(species, columns["species"]), "genus": pc.coalesce(renamed, columns["genus"])}
    ambiguous = {
        name
        for column in ("species", "genus")
        for name in pc.unique(columns[column]).drop_null().to_pylist()
        if name in homonyms
    }
    many = len(renamed) - renamed.null_count
    parts = [
        f"{len(accepted):,} synonyms, which occur in {many:,} rows",
        *_list("of several accepted names, not guessed", sorted(ambiguous)),
    ]
    return Coverage(result, f"{path.name}: {'; '.join(parts)}")


def _read_rows(path: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the cells of the named columns; rows that cannot be read are an error, because nothing may be guessed."""

    def report(line: int, reason: str, detail: str) -> None:
        if reason != "blank":
            raise ValueError(f"{path}, line {line}: {detail}")

    table = open_table(path, report)
    if missing := [name for name in names if name not in table.positions]:
        shown = ", ".join(repr(name) for name in table.header)
        raise ValueError(f"{path}: no column {missing[0]!r}; the columns are {shown}; rename one to {missing[0]}")
    for _, fields in table.records:
        yield [fields[table.positions[name]].strip() for name in names]


_Lineages = dict[str, list[tuple[str | None, str | None]]]


def _read_lineages(path: Path) -> _Lineages:
    """Return the distinct pairs of family and order of each genus."""
    found: dict[str, dict[tuple[str | None, str | None], None]] = defaultdict(dict)
    for genus, family, order in _read_rows(path, ("genus", "family", "order")):
        if (name := parse_genus(genus).genus) is not None:
            found[name][parse_higher(family), parse_higher(order)] = None
    return {name: list(pairs) for name, pairs in found.items()}


def _choose(lineages: _Lineages, pair: str) -> tuple[str | None, str | None]:
    """Return family and order of a genus; of a homonym, those that fit the row's own family."""
    genus, _, family = pair.partition(_BETWEEN)
    known = lineages.get(genus, [])
    fitting = [each for each in known if each[0] == family] or known
    return fitting[0] if len(fitting) == 1 else (None, None)


def read_synonyms(path: Path) -> tuple[dict[str, str], set[str]]:
    """Return synonym → accepted name, and the synonyms of several accepted names.

    Raises:
        ValueError: the table cannot be read or lacks a column, or synonyms form a circle.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for name, accepted in _read_rows(path, ("name", "accepted")):
        old, new = (read.species or read.genus for read in (parse_name(name), parse_name(accepted)))
        if old and new and old != new and (" " in old) == (" " in new):
            found[old].add(new)
    homonyms = {name for name, names in found.items() if len(names) > 1}
    direct = {name: min(names) for name, names in found.items() if name not in homonyms}
    return {name: _follow(path, direct, name) for name in direct}, homonyms


def _follow(path: Path, direct: dict[str, str], name: str) -> str:
    """Follow a synonym of a synonym to the accepted name."""
    seen = [name]
    while seen[-1] in direct:
        seen.append(direct[seen[-1]])
        if seen[-1] in seen[:-1]:
            raise ValueError(f"{path}: {' → '.join(seen)} is a circle; correct one of these rows")
    return seen[-1]


def _list(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = ", …" if len(names) > _SHOWN else ""
    return [f"{what}: {len(names):,} ({', '.join(names[:_SHOWN])}{more})"]
