"""Folders that can be trusted: written beside, hashed, put into place at once; a damaged one is noticed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from herbray.storage import sync_to_disk

SEAL: Final = "checkpoint.json"
"""Written last: size and sha256 of every other file, a note, and the sha256 of all that."""

_CHUNK: Final = 1 << 20
_MISSING: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Damaged(ValueError):
    """A folder is not what was sealed: torn, changed, or never finished."""


def seal(folder: Path, fill: Callable[[Path], object], note: Mapping[str, Any]) -> None:
    """Make a folder that is whole or not there, whenever the process or the machine stops.

    It is filled under another name beside its place, every file reaches the disk, and one rename shows it.

    Args:
        folder: to be made; one that is there is replaced.
        fill: writes into the folder that it is given.
        note: plain JSON that `opened` gives back.

    Raises:
        OSError: it could not be written; nothing is left of it.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        fill(beside)
        body = {"note": dict(note), "files": {name: _measured(beside / name, sync=True) for name in _files(beside)}}
        text = json.dumps(body | {"sha256": _digest(body)}, indent=1, allow_nan=False)
        (beside / SEAL).write_text(text + "\n", encoding="utf-8")
        for path in (beside / SEAL, *(each for each in beside.rglob("*") if each.is_dir()), beside):
            sync_to_disk(path)
        former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
        if folder.exists():
            folder.replace(former)
        beside.replace(folder)
        sync_to_disk(folder.parent)
        shutil.rmtree(former, ignore_errors=True)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def opened(folder: Path, look: bool = True) -> dict[str, Any]:
    """The note of a sealed folder.

    Args:
        folder: that `seal` made.
        look: read every file and compare; else the seal alone.

    Raises:
        Damaged: it has no whole seal, or a file is missing, unknown, or of other size or content.
        OSError: the storage did not give a file that is there; it may at the next try.
    """
    try:
        body = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        told = body.pop("sha256")
        note, files = dict(body["note"]), dict(body["files"])
    except (*_MISSING, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{folder}: no readable {SEAL} ({type(error).__name__})") from None
    if told != _digest(body):
        raise Damaged(f"{folder / SEAL}: changed since it was written")
    if look:
        found = set(_files(folder))
        if odd := sorted(found ^ files.keys()):
            raise Damaged(f"{folder}: {', '.join(odd[:3])} {'missing' if odd[0] in files else 'not of it'}")
        for name, wanted in files.items():
            if _measured(folder / name) != wanted:
                raise Damaged(f"{folder / name}: size or sha256 is not what was written")
    return note


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != SEAL)


def _measured(path: Path, sync: bool = False) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
                size += len(data)
            if sync:
                os.fsync(file.fileno())
    except _MISSING as error:
        if sync:
            raise
        raise Damaged(f"{path}: cannot be read ({error.strerror})") from None
    return {"bytes": size, "sha256": digest.hexdigest()}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
