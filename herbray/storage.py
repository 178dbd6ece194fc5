"""Files that readers see whole or not at all, and notes in JSON whose damage is noticed.

The one place that writes a file under another name and renames it. `herbray.tables` does the same for Parquet.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_DIGEST: Final = "sha256"
"""Key of a note under which the digest of its other keys stands."""


class DamagedFile(ValueError):
    """A file of ours does not hold what was written; the message names the file, the damage and the way out."""

    def __init__(self, path: Path, damage: str, remedy: str) -> None:
        """`remedy` says which command makes the file anew."""
        super().__init__(f"{path}: {damage}; {remedy}")
        self.path, self.damage = path, damage


class MissingFile(DamagedFile):
    """A file that should be there is not."""

    def __init__(self, path: Path, remedy: str) -> None:
        """See `DamagedFile`."""
        super().__init__(path, "this file is missing", remedy)


@contextmanager
def replace_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """A name to write under; at the end what was written is on the disk and takes the place of `path`.

    Readers see the old file or the new one, never a half, whenever the process or the machine stops. If the body
    fails, `path` stays as it was. Folders on the way are made.

    Args:
        path: the file.
        durable: wait for the disk; a file that is soon made anew (one of thousands) need not.

    Yields:
        A path beside it, of a name that no other process chooses.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if durable:
            sync_to_disk(temporary)
        temporary.replace(path)
        if durable:
            sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all; see `replace_file`."""
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; see `replace_file`."""
    write_bytes(path, text.encode())


def write_note(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a JSON object whole or not at all, with a digest of it under the key `sha256`.

    Raises:
        ValueError: the tree holds a number that JSON cannot say.
        OSError: see `replace_file`.
    """
    sealed = {**tree, _DIGEST: digest(tree)}
    write_text(path, json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_note(path: Path, remedy: str) -> dict[str, Any]:
    """What `write_note` wrote, without the digest.

    Args:
        path: the file.
        remedy: which command makes the file anew.

    Raises:
        MissingFile: there is no such file.
        DamagedFile: the file is no JSON object, or was changed since it was written.
        OSError: the storage does not give the file.
    """
    try:
        tree = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(path, remedy) from None
    except (ValueError, RecursionError):
        raise DamagedFile(path, "damaged, it is no JSON", remedy) from None
    if not isinstance(tree, dict):
        raise DamagedFile(path, "damaged, it is no JSON object", remedy)
    found = tree.pop(_DIGEST, None)
    if found is None:
        raise DamagedFile(path, "written by an earlier version, without a digest", remedy)
    if found != digest(tree):
        raise DamagedFile(path, "damaged, it was changed since it was written", remedy)
    return tree


def digest(tree: Mapping[str, Any]) -> str:
    """SHA-256 (FIPS 180-4) of a JSON object, whatever the order of its keys: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
