"""`datapackage.json`, the descriptor of a Darwin Core Data Package (Darwin Core data package guide, TDWG 2025)."""

import json
from pathlib import PurePosixPath
from typing import Any, Final

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.descriptor import check_encoding
from herbray.data.sources.darwin_core.archive.layout import Dialect, Layout, Table, number_columns
from herbray.data.sources.darwin_core.archive.records import split_records

_CORES: Final = (("material", "material-media", "materialentityid"), ("occurrence", "occurrence-media", "occurrenceid"))
_FACTS: Final = ("event", "occurrence", "identification")


def read_package(box: Container, name: str) -> Layout:
    """Read `datapackage.json`.

    The rows are those of the table `material` if images are linked to it, else those of `occurrence`.

    Args:
        box: the archive.
        name: of the descriptor in it.

    Raises:
        ValueError: it is no JSON, lacks these tables, or names a file that is not there or outside.
    """
    resources = {each["name"]: each for each in _parse_resources(box, name)}
    base = name.rpartition("/")[0]
    tables = {kind: _make_table(box, base, kind, resources[kind]) for kind in resources if kind in _USED}
    found = [each for each in _CORES if each[0] in tables and each[1] in tables] or [
        e for e in _CORES if e[0] in tables
    ]
    if not found:
        raise ValueError(f"{box.path}: {name} has neither a table of material nor of occurrences; its tables are "
                         f"{', '.join(resources) or 'none'}")  # fmt: skip
    core, link, _ = found[0]
    has_images = "media" in tables and link in tables
    return Layout(
        kind="Darwin Core Data Package",
        base=f"{base}/" if base else "",
        core=tables[core],
        media=(tables["media"],) if has_images else (),
        links=(tables[link],) if has_images else (),
        facts=tuple(tables[kind] for kind in _FACTS if kind in tables and kind != core),
        unread=tuple(kind for kind in resources if kind not in _USED),
        metadata=box.find("eml.xml"),
    )


_USED: Final = {"media", *_FACTS, *(name for core in _CORES for name in core[:2])}


def _parse_resources(box: Container, name: str) -> list[dict[str, Any]]:
    try:
        tree = json.loads(box.read_note(name))
        resources = [dict(each) for each in tree["resources"]]
        for each in resources:
            each["name"] = str(each["name"]).replace("_", "-").lower()
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise ValueError(f"{box.path}: {name} is not the descriptor of a data package ({error})") from None
    return resources


def _make_table(box: Container, base: str, kind: str, resource: dict[str, Any]) -> Table:
    given = resource.get("path", "")
    places = [str(each) for each in (given if isinstance(given, list) else [given])]
    files = tuple((PurePosixPath(base) / place).as_posix() for place in places)
    for place, file in zip(places, files, strict=True):
        if file not in box.names or ".." in PurePosixPath(place).parts:
            raise ValueError(f"{box.path}: the descriptor names the file {place!r:.200}, which is not in the archive")
    given_dialect = resource.get("dialect")
    written: dict[str, Any] = given_dialect if isinstance(given_dialect, dict) else {}
    tabbed = str(resource.get("format", "")) == "tsv" or places[0].endswith((".tsv", ".txt"))
    dialect = Dialect(
        delimiter=str(written.get("delimiter") or ("\t" if tabbed else ",")),
        quote=str(written.get("quoteChar", '"')),
        encoding=check_encoding(box.path, str(resource.get("encoding") or "UTF-8")),
    )
    if len(dialect.delimiter) != 1 or len(dialect.quote) > 1:
        raise ValueError(f"{box.path}: {places[0]} has a separator of {len(dialect.delimiter)} characters; one is read")
    return make_headed_table(box, files, kind, dialect)


def make_headed_table(box: Container, files: tuple[str, ...], kind: str, dialect: Dialect) -> Table:
    """A table whose columns are named by the header of its first file, and by nothing else.

    Raises:
        ValueError: it has no header, or the header names no column.
    """
    header = next(split_records(box.read_chunks(files[0]), dialect, 1, lambda *_: None), None)
    columns = number_columns(header[1] if header else [])
    if not any(columns):
        raise ValueError(f"{box.path}: {files[0]} has no header line; its columns cannot be told apart")
    keys = [columns[term][0] for term in _KEYS[kind] if term in columns]
    names = [file.rpartition("/")[2] for file in files]
    return Table(
        name=", ".join(names),
        files=files,
        row_type=kind,
        dialect=dialect,
        columns=columns,
        key=keys[0] if keys else None,
    )


_KEYS: Final = {
    "occurrence": ("gbifid", "coreid", "id", "occurrenceid"),
    "material": ("materialentityid",),
    "media": ("mediaid",),
    "material-media": ("materialentityid",),
    "occurrence-media": ("occurrenceid",),
    "event": ("eventid",),
    "identification": (
        *("basedonmaterialentityid", "identificationbasedonmaterialentityid"),
        *("basedonoccurrenceid", "identificationbasedonoccurrenceid"),
    ),
}
"""Kind of table → the columns that may hold the id by which it is joined."""
