"""Folders with checksums: written under a temporary name, hashed, and renamed into place; damage is detected."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from herbray import storage
from herbray.storage import sync_to_disk

SEAL_FILE: Final = "checkpoint.json"
"""The seal, written last: size and SHA-256 of every other file, a note, and the SHA-256 of its own content."""

_CHUNK_BYTES: Final = 1 << 20
_MISSING: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class DamagedFolder(ValueError):
    """A folder differs from its seal: it is incomplete, changed, or was never finished."""


def write_sealed(folder: Path, fill: Callable[[Path], object], note: Mapping[str, Any]) -> None:
    """Write a folder that is complete or absent, even if the process or the machine stops at any moment.

    The folder is filled under a temporary name, every file is flushed to disk, and one rename puts it into place. In a
    bucket, the seal is written last: without it, the folder is not complete.

    Args:
        folder: folder to create; an existing folder is replaced.
        fill: function that writes the content into the folder that it is given.
        note: plain JSON that `verify_sealed` returns.

    Raises:
        OSError: the folder could not be written; it is as it was, or in a bucket without its seal.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        _write_seal(temporary, note)
        storage.publish_folder(temporary, folder, last=SEAL_FILE)
        sync_to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_seal(folder: Path, note: Mapping[str, Any]) -> None:
    files = {name: _measure_file(folder / name, sync=True) for name in _list_files(folder)}
    body = {"note": dict(note), "files": files}
    text = json.dumps(body | {"sha256": _digest(body)}, indent=1, allow_nan=False)
    (folder / SEAL_FILE).write_text(text + "\n", encoding="utf-8")
    for path in (folder / SEAL_FILE, *(each for each in folder.rglob("*") if each.is_dir()), folder):
        sync_to_disk(path)


def verify_sealed(folder: Path, read_files: bool = True) -> dict[str, Any]:
    """Verify a sealed folder and return its note.

    Args:
        folder: folder that `write_sealed` wrote.
        read_files: verify the content of every file; False: verify the seal only.

    Raises:
        DamagedFolder: the seal is missing or damaged, or a file is missing, unknown, or differs in size or content.
        OSError: the storage failed to deliver an existing file; a retry may succeed.
    """
    try:
        body = json.loads(storage.read_bytes(folder / SEAL_FILE))
        digest = body.pop("sha256")
        note, files = dict(body["note"]), dict(body["files"])
    except (*_MISSING, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFolder(f"{folder}: no readable {SEAL_FILE} ({type(error).__name__})") from None
    if digest != _digest(body):
        raise DamagedFolder(f"{folder / SEAL_FILE}: changed since it was written")
    if read_files:
        _verify_files(storage.fetch_folder(folder), files)
    return note


def _verify_files(folder: Path, files: Mapping[str, Any]) -> None:
    found = set(_list_files(folder))
    if odd := sorted(found ^ files.keys()):
        raise DamagedFolder(f"{folder}: {', '.join(odd[:3])} {'missing' if odd[0] in files else 'not in the seal'}")
    for name, expected in files.items():
        if _measure_file(folder / name) != expected:
            raise DamagedFolder(f"{folder / name}: size or sha256 is not what was written")


def _list_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != SEAL_FILE)


def _measure_file(path: Path, sync: bool = False) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK_BYTES):
                digest.update(data)
                size += len(data)
            if sync:
                os.fsync(file.fileno())
    except _MISSING as error:
        if sync:
            raise
        raise DamagedFolder(f"{path}: cannot be read ({error.strerror})") from None
    return {"bytes": size, "sha256": digest.hexdigest()}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
