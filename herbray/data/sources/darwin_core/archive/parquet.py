"""Rows of a Parquet file in an archive, a few thousand at a time."""

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.layout import Table, fold_term

MAGIC: Final = b"PAR1"
"""The first bytes of every Parquet file."""

_ROWS: Final = 4096


def read_parquet(box: Container, file: str, table: Table, terms: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Stream the rows of a file; see `rows.read_rows`.

    A compressed member of a zip file is first copied to an unnamed temporary file, because Parquet is read from its
    end.

    Raises:
        ValueError: it is no Parquet file or damaged.
    """
    try:
        with _open_seekable(box, file) as stream, pq.ParquetFile(pa.PythonFile(stream)) as parquet:
            names = {fold_term(name): name for name in reversed(parquet.schema_arrow.names)}
            wanted = {term: names[term] for term in terms if term in names}
            number = 0
            for batch in parquet.iter_batches(_ROWS, columns=list(wanted.values()), use_threads=False):
                columns = [batch.column(name).to_pylist() for name in wanted.values()]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield number, _make_row(table, terms, dict(zip(wanted, values, strict=True)))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{box.path}: {file} is no complete Parquet file ({error}); download it again") from None


def _make_row(table: Table, terms: Sequence[str], values: dict[str, Any]) -> dict[str, str]:
    row = {term: _to_text(values.get(term)) or table.defaults.get(term, "") for term in terms}
    return row | {"": row.get("gbifid", "")}


def _to_text(value: object) -> str:
    """A value as text; the items of a list are separated by " | "."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " | ".join(text for item in value if (text := _to_text(item)))
    if isinstance(value, dict):  # Hive's lists are lists of structures of one element
        return " | ".join(text for item in value.values() if (text := _to_text(item)))
    return str(value).strip()


def _open_seekable(box: Container, file: str) -> IO[bytes]:
    if not box.is_packed:
        return box.open(file)
    copy = tempfile.TemporaryFile()
    for chunk in box.read_chunks(file):
        copy.write(chunk)
    copy.seek(0)
    return copy
