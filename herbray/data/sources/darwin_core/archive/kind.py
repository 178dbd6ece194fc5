"""Which kind of archive a file is, told by its content."""

from typing import Final

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.descriptor import read_descriptor
from herbray.data.sources.darwin_core.archive.layout import Dialect, Layout, Table, fold_term
from herbray.data.sources.darwin_core.archive.package import make_headed_table, read_package
from herbray.data.sources.darwin_core.archive.parquet import MAGIC

_KNOWN: Final = frozenset(
    (
        *("gbifid", "datasetkey", "occurrenceid", "catalognumber", "institutioncode", "collectioncode"),
        *("basisofrecord", "scientificname", "family", "genus", "specificepithet", "recordedby", "recordnumber"),
    )
)
_MIN_KNOWN: Final = 3  # names of columns that make a file a table of occurrences
_DELIMITERS: Final = "\t,;|"
_HEAD_BYTES: Final = 1 << 16
_BOMS: Final = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_layout(box: Container) -> Layout:
    """Find out what an archive is and which tables it has.

    Raises:
        ValueError: it is none of the kinds that herbray reads, or not as its descriptor says.
    """
    if name := box.find("meta.xml"):
        return read_descriptor(box, name)
    if name := box.find("datapackage.json") or box.find("data-package.json"):
        return read_package(box, name)
    heads = {name: _read_head(box, name) for name in box.names}
    if parquet := tuple(name for name, head in heads.items() if head.startswith(MAGIC)):
        table = Table(name="occurrence.parquet", files=parquet, row_type="occurrence", dialect=None)
        return Layout(kind="GBIF SIMPLE_PARQUET", base="", core=table)
    found = {name: dialect for name, head in heads.items() if (dialect := _guess_dialect(head))}
    if len(found) != 1:
        raise ValueError(
            f"{box.path}: neither a Darwin Core Archive (no meta.xml), nor a data package (no datapackage.json), nor a "
            f"download of one table of occurrences ({len(found)} found)"
        )
    ((name, dialect),) = found.items()
    core = make_headed_table(box, (name,), "occurrence", dialect)
    unread = tuple(each for each in box.names if each != name)
    return Layout(kind="GBIF SIMPLE_CSV", base="", core=core, unread=unread, metadata=box.find("eml.xml"))


def _read_head(box: Container, name: str) -> bytes:
    """The first bytes of a file; none of metadata and images."""
    if name.lower().endswith((".xml", ".json", ".jpg", ".jpeg", ".png", ".tif", ".tiff")):
        return b""
    with box.open(name) as file:
        return file.read(_HEAD_BYTES)


def _guess_dialect(head: bytes) -> Dialect | None:
    """The dialect of a table of occurrences, from its header; None if it is no such table."""
    encoding = next((encoding for bom, encoding in _BOMS if head.startswith(bom)), "utf-8")
    line = head.decode(encoding, "replace").removeprefix("\ufeff").partition("\n")[0].rstrip("\r")
    delimiter = max(_DELIMITERS, key=line.count)
    quoted = line.startswith('"') or delimiter != "\t"
    known = _KNOWN & {fold_term(name) for name in line.split(delimiter)}
    return Dialect(delimiter, '"' if quoted else "", encoding) if len(known) >= _MIN_KNOWN else None
