"""A first look at a source: what would be read, before a catalogue is built."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from herbray import storage
from herbray.data.catalogue import Catalogue, name_images, tidy, tidy_text
from herbray.data.presence import find_absent
from herbray.data.refusals import RefusalLog, refuse_unusable
from herbray.data.sources.base import Account
from herbray.data.sources.folder import GATHERING_PARTS, Folder
from herbray.data.tabular.header import fold, propose
from herbray.data.tabular.reading import OpenTable, open_table
from herbray.schema import CATALOGUE, MASKED_CATALOGUE, RANKS

_ROWS: Final = 10
_WIDTH: Final = 32  # characters of a value in the rows that are shown
_EXAMPLES: Final = 3
_PROPOSED: Final = ("image", "species", "institution", "gathering")
"""Columns that are worth a proposal: without the first nothing works, and each of the others makes a test possible."""


def look(spec: Catalogue) -> str:
    """Read a source and describe what was understood; nothing is written.

    Returns:
        Lines for people: the table and its columns, ten rows, counts of names and images, refused rows, what was
        changed, and a configuration to start from.

    Raises:
        ValueError: the source cannot be read.
    """
    lines: list[str] = []
    source = spec.source
    if isinstance(source, Folder):
        table = open_table(source.table, lambda *_: None, source.dialect) if storage.is_file(source.table) else None
        if table is not None:
            added = propose_columns(table, source)
            source = source.model_copy(update={"columns": {**source.columns, **added}})
            lines += _describe_columns(table, source, added)
    spec = spec.model_copy(update={"source": source})
    refused, account = RefusalLog(), Account()
    batches = list(source.read(refused, account))
    given = pa.Table.from_batches(batches, schema=batches[0].schema if batches else CATALOGUE)
    kept, _, notes = tidy(refuse_unusable(tidy_text(given), refused, storage.show(source.root)), spec)
    lines += [*_describe_rows(kept, storage.show(source.root)), *_describe_counts(kept, refused, account)]
    lines += [f"note: {note}" for note in notes]
    return "\n".join([*lines, "a configuration to start from:", *_propose_configuration(spec)])


def propose_columns(table: OpenTable, source: Folder) -> dict[str, str]:
    """Propose columns of a table for columns of the catalogue that the settings leave open; each is proposed once.

    Collector, number and date are proposed together, instead of a gathering.
    """
    given = {*source.columns, *source.constants} | table.positions.keys()
    used = {fold(name) for name in source.columns.values()} | (table.positions.keys() & set(MASKED_CATALOGUE.names))
    parts = {} if "gathering" in given else _propose_each(GATHERING_PARTS, table, given, used)
    if not {*GATHERING_PARTS[:2]} <= parts.keys() | given:
        parts = {}
    rest = [column for column in _PROPOSED if column != "gathering" or not parts]
    return _propose_each(rest, table, given, used | {fold(name) for name in parts.values()}) | parts


def _propose_each(columns: Sequence[str], table: OpenTable, given: Set[str], used: Set[str]) -> dict[str, str]:
    added: dict[str, str] = {}
    for column in columns:
        name = None if column in given or column.replace("_", "") in given else propose(column, table.header)
        if name is not None and fold(name) not in used | {fold(each) for each in added.values()}:
            added[column] = name
    return added


def _describe_columns(table: OpenTable, source: Folder, added: Mapping[str, str]) -> Iterator[str]:
    yield f"{table.path}: {table.kind}"
    places = source.find_columns(table)
    for column, place in places.items():
        yield f"  {column} ← {table.header[place].strip()}{' (proposed)' if column in added else ''}"
    for column, text in source.constants.items():
        yield f"  {column} = {text}"
    others = [name.strip() for place, name in enumerate(table.header) if place not in places.values() and name.strip()]
    made = {"gathering"} if "recorded_by" in places else set()
    absent = [name for name in CATALOGUE.names if name not in {*places, *source.constants, *made}]
    yield f"  not used: {', '.join(others) or 'none'}"
    yield f"  not given: {', '.join(absent) or 'none'}"


def _describe_rows(kept: pa.Table, root: str) -> Iterator[str]:
    """The first rows, with the columns that are not empty; images by their names."""
    shown = kept.slice(0, _ROWS)
    columns = {name: shown[name].to_pylist() for name in kept.column_names if kept[name].null_count < len(kept)}
    columns |= {"image": name_images(shown["image"], root).to_pylist()}
    if columns.get("specimen_id") == columns["image"]:
        del columns["specimen_id"]
    yield f"the first {len(shown)} of {len(kept):,} usable rows:"
    yield "  " + " | ".join(columns)
    for row in zip(*columns.values(), strict=True):
        yield "  " + " | ".join(_shorten(value or "") for value in row)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _describe_counts(kept: pa.Table, refused: RefusalLog, account: Account) -> Iterator[str]:
    names = [f"{rank} {pc.count_distinct(kept[rank]).as_py():,} ({kept[rank].null_count:,} empty)" for rank in RANKS]
    yield f"names: {', '.join(names)}"
    for name in ("institution", "gathering"):
        yield f"{name}s: {pc.count_distinct(kept[name]).as_py():,} ({kept[name].null_count:,} rows without)"
    absent = find_absent(kept["image"])
    yield f"images: {len(kept) - len(absent):,} found, {len(absent):,} not found"
    yield from (f"  not found: {path}" for path in absent[:_EXAMPLES])
    if account.skipped:
        yield f"skipped: {', '.join(f'{reason} {many:,}' for reason, many in account.skipped.most_common())}"
    reasons = Counter(row[3] for row in refused.rows)
    yield f"refused: {len(refused.rows):,} rows"
    for reason, many in reasons.most_common():
        examples = [row for row in refused.rows if row[3] == reason][:_EXAMPLES]
        yield f"  {reason} {many:,}: " + "; ".join(" ".join(filter(None, (row[1], row[4]))) for row in examples)


def _propose_configuration(spec: Catalogue) -> Sequence[str]:
    """The settings that differ from their defaults, as YAML."""
    settings: dict[str, Any] = spec.model_dump(mode="json", exclude_defaults=True, exclude={"look"})
    settings["source"] = {"name": spec.source.name, **settings["source"]}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return [f"  {line}" for line in text.splitlines()]
