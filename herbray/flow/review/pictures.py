"""Writes the pictures of the review page: the JPEGs of the shards, as they are."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from herbray import storage
from herbray.flow.shards.specimens import find_specimens, read_jpegs

_AT_ONCE: Final = 256  # JPEGs in memory


def picture_path(specimen_id: str) -> str:
    """Address of the picture of a sheet, relative to the page. It does not contain the id: ids may be any text."""
    name = hashlib.sha256(specimen_id.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"pictures/{name[:2]}/{name[2:]}.jpg"


def write_pictures(shards: Path, ids: Collection[str], out: Path) -> int:
    """Write the pictures of some sheets, remove all others, and return the total size in bytes.

    Raises:
        DamagedFile: a file of the shards is missing or damaged.
        OSError: the disk is full.
    """
    found = find_specimens(shards, ids)
    wanted: set[Path] = set()
    size = 0
    for start in range(0, len(found), _AT_ONCE):
        part = found.slice(start, _AT_ONCE)
        for name, jpeg in zip(part["specimen_id"].to_pylist(), read_jpegs(shards, part), strict=True):
            path = out / picture_path(name)
            wanted.add(path)
            size += len(jpeg)
            _write_if_changed(path, jpeg)
    for path in (out / "pictures").glob("*/*.jpg"):
        if path not in wanted:
            path.unlink()
    return size


def _write_if_changed(path: Path, jpeg: bytes) -> None:
    if path.is_file() and path.read_bytes() == jpeg:
        return
    with storage.replace_file(path, durable=False) as temporary:
        temporary.write_bytes(jpeg)
