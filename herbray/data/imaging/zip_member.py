"""Images inside a zip file: their addresses, and reading them without unpacking the file."""

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Final

_SEPARATOR: Final = "!/"  # as in the addresses of Java archives

READ_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises for a member that is damaged, encrypted or compressed by an unknown method."""


def join_member(archive: str, name: str) -> str:
    """The address of a member of a zip file."""
    return f"{archive}{_SEPARATOR}{name}"


def split_member(image: str) -> tuple[str, str] | None:
    """The zip file and the member's name in an address of `join_member`; None if it is none."""
    archive, separator, name = image.partition(_SEPARATOR)
    return (archive, name) if separator and name and Path(archive).is_file() else None


def read_member(archive: str, name: str, limit: int) -> bytes:
    """Read a member of at most `limit` bytes.

    Raises:
        KeyError: there is no such member.
        OverflowError: it has more bytes.
        OSError: it cannot be read.
    """
    status = Path(archive).stat()
    opened = _open(archive, status.st_mtime_ns, status.st_size)
    if opened.getinfo(name).file_size > limit:
        raise OverflowError(f"{opened.getinfo(name).file_size:,} bytes")
    try:
        return opened.read(name)
    except READ_ERRORS as error:
        raise OSError(None, f"damaged ({error})") from None


@lru_cache(maxsize=2)
def _open(archive: str, _time: int, _size: int) -> zipfile.ZipFile:
    """Open a zip file once per process: reading its list of members takes seconds if there are many."""
    try:
        return zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise OSError(None, f"not a zip file ({error})") from None
