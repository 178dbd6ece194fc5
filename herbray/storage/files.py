"""Files that readers see complete or not at all, and notes: JSON files with a digest, so that damage is noticed.

`herbray.tables` builds on it for Parquet.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from herbray.storage import cache
from herbray.storage.address import cache_of, is_remote, show
from herbray.storage.room import prepare_cache

_DIGEST: Final = "sha256"
"""Key in a note that holds the digest of its other keys."""


class DamagedFile(ValueError):
    """A file does not hold what herbray wrote; the message names the file, the damage and the remedy."""

    def __init__(self, path: Path, damage: str, remedy: str) -> None:
        """`remedy` says which command makes the file again."""
        super().__init__(f"{show(path)}: {damage}; {remedy}")
        self.path, self.damage = path, damage


class MissingFile(DamagedFile):
    """A file that should exist is missing."""

    def __init__(self, path: Path, remedy: str) -> None:
        """See `DamagedFile`."""
        super().__init__(path, "this file is missing", remedy)


@contextmanager
def replace_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name; at the end of the body, sync it to the disk and rename it to `path`.

    Readers see the old file or the complete new one, even if the process or the machine stops. If the body fails,
    `path` is not changed. Missing parent folders are created. A path that stands for an address is written to its
    bucket, as one object.

    Args:
        path: the file.
        durable: wait for the disk; not needed for one of many files that can be made again quickly.

    Yields:
        A path in the same folder, with a name that no other process uses.

    Raises:
        OSError: the disk is full, the folder is not writable, or the store does not answer.
    """
    if is_remote(path):
        prepare_cache(cache_of(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if is_remote(path):
            cache.publish(temporary, path)
            return
        if durable:
            sync_to_disk(temporary)
        temporary.replace(path)
        if durable:
            sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file completely or not at all; see `replace_file`."""
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file completely or not at all; see `replace_file`."""
    write_bytes(path, text.encode())


def write_note(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a JSON object completely or not at all, with its digest under the key `sha256`.

    Raises:
        ValueError: the tree contains NaN or infinity.
        OSError: see `replace_file`.
    """
    sealed = {**tree, _DIGEST: digest(tree)}
    write_text(path, json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_note(path: Path, remedy: str) -> dict[str, Any]:
    """Read what `write_note` wrote, without the digest.

    Args:
        path: the file.
        remedy: which command makes the file again.

    Raises:
        MissingFile: the file does not exist.
        DamagedFile: the file is not a JSON object, or was changed after it was written.
        OSError: the storage cannot read the file.
    """
    try:
        tree = json.loads(cache.fetch(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(path, remedy) from None
    except (ValueError, RecursionError):
        raise DamagedFile(path, "damaged, it is not JSON", remedy) from None
    if not isinstance(tree, dict):
        raise DamagedFile(path, "damaged, it is not a JSON object", remedy)
    found = tree.pop(_DIGEST, None)
    if found is None:
        raise DamagedFile(path, "written by an earlier version, without a digest", remedy)
    if found != digest(tree):
        raise DamagedFile(path, "damaged, it was changed after it was written", remedy)
    return tree


def digest(tree: Mapping[str, Any]) -> str:
    """SHA-256 (FIPS 180-4) of a JSON object, independent of the order of its keys: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
