"""`meta.xml`, the descriptor of a Darwin Core Archive (Darwin Core text guide, TDWG 2023)."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.layout import Dialect, Layout, Table, fold_term
from herbray.data.sources.darwin_core.archive.xml import Element, local_name, parse_xml

_CORES: Final = ("occurrence", "darwinrecord", "simpledarwinrecord", "materialentity")
_MEDIA: Final = ("multimedia", "image", "simplemultimedia")
_ESCAPES: Final = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\", "\\0": "\0"}
_ENCODINGS: Final = re.compile(
    r"utf-8(-sig)?|utf-(16|32)(-[lb]e)?|ascii|iso8859-\d+|cp\d+|mac-roman|koi8-[ru]|gb18030|gbk|big5|shift_jis|euc_\w+"
)
_RAW: Final = re.compile(r"(?i)raw|verbatim")


def read_descriptor(box: Container, name: str) -> Layout:
    """Read `meta.xml`.

    Args:
        box: the archive.
        name: of the descriptor in it.

    Raises:
        ValueError: it is no descriptor; its core is not a table of occurrences; it names a file of the core or of the
            images that is not there or outside; or it declares a dialect that cannot be read.
    """
    core, others, metadata = read_tables(box, name)
    if core.row_type not in _CORES:
        raise ValueError(
            f"{box.path}: a row of its core is a {core.row_type!r}; herbray reads archives of occurrences. "
            "Export or download the specimens' occurrence records"
        )
    media = [each for each in others if each.row_type in _MEDIA]
    raw = [each for each in media if _RAW.search(each.name)]
    raw = ([] if len(raw) == len(media) else raw) + [each for each in others if each.row_type == "occurrence"]
    media = [each for each in media if each not in raw]
    for table in (core, *media):
        _check_present(box, table, name)
    base = name.rpartition("/")[0]
    return Layout(
        kind="Darwin Core Archive",
        base=f"{base}/" if base else "",
        core=core,
        media=tuple(media),
        verbatim=tuple(each for each in raw if all(file in box.names for file in each.files)),
        unread=tuple(each.name for each in others if each not in media and each not in raw),
        absent=tuple(file for table in others for file in table.files if file not in box.names),
        metadata=metadata,
    )


def read_tables(box: Container, name: str) -> tuple[Table, list[Table], str | None]:
    """Read the declared tables: the core, its extensions, and the name of the metadata.

    Raises:
        ValueError: the file is no descriptor, or declares a dialect that cannot be read.
    """
    root = parse_xml(box.read_note(name), box.path, name)
    cores = [each for each in root if local_name(each) == "core"]
    if local_name(root) != "archive" or len(cores) != 1:
        raise ValueError(f"{box.path}: {name} is not the descriptor of a Darwin Core Archive: it has no <core>")
    base = name.rpartition("/")[0]
    extensions = [_parse_table(box, base, each) for each in root if local_name(each) == "extension"]
    return _parse_table(box, base, cores[0]), extensions, box.find(root.get("metadata") or "eml.xml")


def _check_present(box: Container, table: Table, name: str) -> None:
    missing = [file for file in table.files if file not in box.names]
    if missing or not table.files:
        what = missing[0] if missing else "no file at all"
        raise ValueError(
            f"{box.path}: {name} names {what} for its rows of {table.row_type}, which is not in the archive; "
            "download the archive again, complete"
        )


def _parse_table(box: Container, base: str, element: Element) -> Table:
    places = [(each.text or "").strip() for each in element.iter() if local_name(each) == "location"]
    columns: dict[str, tuple[int, ...]] = {}
    defaults: dict[str, str] = {}
    separators: dict[str, str] = {}
    for each in (child for child in element if local_name(child) == "field"):
        term = fold_term(each.get("term", ""))
        if each.get("index"):
            columns[term] = (*columns.get(term, ()), _parse_number(box, each.get("index")))
        if each.get("default"):
            defaults.setdefault(term, each.get("default"))
        if each.get("delimitedBy"):
            separators[term] = _unescape(each.get("delimitedBy"))
    keys = [each.get("index") for each in element if local_name(each) in ("id", "coreid") and each.get("index")]
    return Table(
        name=", ".join(places),
        files=tuple(_join(box, base, place) for place in places),
        row_type=fold_term(element.get("rowType", "")),
        dialect=_parse_dialect(box, element),
        columns=columns,
        defaults=defaults,
        separators=separators,
        key=_parse_number(box, keys[0]) if keys else None,
    )


def _join(box: Container, base: str, place: str) -> str:
    """The name in the archive of a file that the descriptor names."""
    path = PurePosixPath(place)
    if not place or path.is_absolute() or ".." in path.parts or "\\" in place or "://" in place:
        raise ValueError(f"{box.path}: the descriptor names the file {place!r:.200}, which is not in the archive")
    return (PurePosixPath(base) / path).as_posix()


def _parse_dialect(box: Container, element: Element) -> Dialect:
    attributes = {key: _unescape(element.get(key, default)) for key, default in _DEFAULTS.items()}
    delimiter, quote = attributes["fieldsTerminatedBy"], attributes["fieldsEnclosedBy"]
    if len(delimiter) != 1 or len(quote) > 1 or delimiter in (quote, "\n", "\r"):
        raise ValueError(
            f"{box.path}: the descriptor separates fields by {delimiter!r} and encloses them in {quote!r}; "
            "herbray reads one character each, and two different ones"
        )
    return Dialect(
        delimiter=delimiter,
        quote=quote,
        encoding=check_encoding(box.path, attributes["encoding"]),
        line_end=attributes["linesTerminatedBy"] or "\n",
        header_lines=_parse_number(box, attributes["ignoreHeaderLines"] or "0"),
    )


_DEFAULTS: Final = {
    "fieldsTerminatedBy": ",",
    "fieldsEnclosedBy": '"',  # an absent attribute means a quotation mark, an empty one means none
    "linesTerminatedBy": "\n",
    "encoding": "UTF-8",
    "ignoreHeaderLines": "0",
}


def check_encoding(path: Path, name: str) -> str:
    """Python's name of a text encoding.

    Raises:
        ValueError: there is no such encoding of text.
    """
    try:
        found = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        found = ""
    if not _ENCODINGS.fullmatch(found):
        raise ValueError(f"{path}: {name!r:.50} is no encoding of text that herbray reads; set source.encoding")
    return found


def _parse_number(box: Container, text: str) -> int:
    if not text.strip().isdecimal() or len(text) > 6:
        raise ValueError(f"{box.path}: the descriptor has {text!r:.50} where a column or a number of lines is expected")
    return int(text)


def _unescape(text: str) -> str:
    return re.sub(r"\\[tnr\\0]", lambda match: _ESCAPES[match[0]], text)


def with_encoding(layout: Layout, encoding: str) -> Layout:
    """The layout with all tables in another encoding than the declared one."""

    def change(tables: Sequence[Table]) -> tuple[Table, ...]:
        return tuple(each.with_encoding(encoding) for each in tables)

    return replace(
        layout,
        core=layout.core.with_encoding(encoding),
        media=change(layout.media),
        links=change(layout.links),
        verbatim=change(layout.verbatim),
        facts=change(layout.facts),
    )
