"""The folder of fetched images: files named by their content, and a table that says which address each came from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema, storage, tables
from herbray.data.web.records import Record

MANIFEST_FILE: Final = "manifest.json"
_TABLE: Final = "images.parquet"
_FILES: Final = "files"
_ON_WEB: Final = "(?i)^https?://"


def find_web_images(images: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each image is on the web."""
    return pc.match_substring_regex(images, _ON_WEB)


def list_files(folder: Path) -> dict[str, int]:
    """The files of fetched images, relative to the folder, with their sizes in bytes; also unfinished ones."""
    return {path.relative_to(folder).as_posix(): size for path, size in storage.file_sizes(folder / _FILES).items()}


def remove_files(folder: Path, files: Collection[str]) -> None:
    """Remove files that no record names: unfinished ones, and images that have changed."""
    for name in files:
        storage.remove(folder / name)


def write_tables(folder: Path, records: Mapping[str, Record], refused: Sequence[Mapping[str, str | None]]) -> None:
    """Write the table of all fetched images, and that of the refused ones (`schema.QUARANTINE`)."""
    rows = [asdict(each) for each in records.values() if not each.reason]
    tables.write(folder / _TABLE, pa.Table.from_pylist(rows, schema=schema.FETCHED))
    tables.write(folder / "quarantine.parquet", pa.Table.from_pylist(list(refused), schema=schema.QUARANTINE))


def is_finished(folder: Path) -> bool:
    """Whether a folder of fetched images is finished."""
    return storage.is_file(folder / MANIFEST_FILE)


def locate_images(images: pa.ChunkedArray, folder: Path) -> pa.ChunkedArray:
    """The images of a catalogue, those on the web replaced by their files; an image that was not fetched stays.

    Raises:
        ValueError: the table is damaged.
    """
    rows = tables.read(folder / _TABLE, describe_remedy(folder), schema.FETCHED)
    paths = pc.binary_join_element_wise(pa.scalar(f"{name_root(folder)}/"), rows["file"], "")
    found = pc.index_in(images, value_set=rows["image"])
    located = pa.chunked_array([paths.combine_chunks().take(found.combine_chunks())], pa.string())
    return pc.coalesce(located, images)


def describe_remedy(folder: Path) -> str:
    """What to do about a damaged or unfinished folder."""
    return f"run `herbray fetch` with out={storage.show(folder)} again: it goes on where it stopped"


def name_root(folder: Path) -> str:
    """The folder as the paths of its images begin: absolute, or an address."""
    return storage.show(folder if storage.is_remote(folder) else folder.resolve())


def make_refusal(record: Record, specimen_id: str) -> dict[str, Any]:
    """The row of the quarantine for an image that was refused."""
    return {
        "specimen_id": specimen_id,
        "image": record.image,
        "stage": "fetch",
        "reason": record.reason,
        "detail": record.detail[:500],
    }
