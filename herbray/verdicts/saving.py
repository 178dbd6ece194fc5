"""Appends verdicts to a file: two reviewers, a full disk or a power cut lose none that was reported as saved."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from herbray.schema import VERDICT
from herbray.spreadsheet import format_rows
from herbray.storage import sync_to_disk

SAVED: Final = "saved.csv"
"""Name of the file to which a server appends, in a folder of verdicts."""

_HEADER: Final = b"\xef\xbb\xbf" + format_rows([VERDICT.names]).encode()


def file_to_append(path: Path) -> Path:
    """The file that verdicts are appended to, for a folder of verdicts or a file."""
    return path if path.suffix == ".csv" else path / SAVED


def check_appendable(file: Path) -> None:
    """Check that rows can be appended to a file: its columns are as herbray writes them.

    Raises:
        ValueError: the file was changed by another program, or cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _lock(file) as handle:
            start = os.pread(handle, len(_HEADER), 0)
    except OSError as error:
        raise ValueError(f"{file}: cannot be written ({error.strerror}); set verdicts to another folder") from None
    if start and start != _HEADER:
        raise ValueError(
            f"{file}: another program has changed its columns or encoding, so no verdict can be appended; rename the "
            "file: it is still read from the folder, and a new one is begun"
        )


def append_verdicts(file: Path, rows: Sequence[Mapping[str, str | None]]) -> None:
    """Append rows, and return when they are on the disk. Other processes that append wait.

    Args:
        file: as `check_appendable` has checked it.
        rows: by the columns of `schema.VERDICT`.

    Raises:
        OSError: the disk is full or fails; the file is then as it was before.
    """
    data = format_rows([row[name] for name in VERDICT.names] for row in rows).encode("utf-8", "replace")
    with _lock(file) as handle:
        size = os.fstat(handle).st_size
        is_torn = size and os.pread(handle, 1, size - 1) != b"\n"  # an editor left out the last line break
        try:
            _write_all(handle, (b"\r\n" if is_torn else b"" if size else _HEADER) + data)
            os.fsync(handle)
        except OSError:
            with suppress(OSError):  # the first error is the one to tell
                os.ftruncate(handle, size)
            raise
        if not size:
            sync_to_disk(file.parent)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


@contextmanager
def _lock(file: Path) -> Iterator[int]:
    """Open a file for appending, and exclude other processes that do."""
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)
