"""The encoding of a text file: told by its first bytes or by the user; otherwise UTF-8, or an error with offers."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OFFERS: Final = ("cp1252", "mac_roman", "cp850", "cp1250")
"""Encodings of Western and Central European spreadsheets, on Windows, Mac and in older exports."""

_SHOWN: Final = 24  # characters around the first that is not UTF-8


def choose_encoding(path: Path, told: str | None) -> str:
    """Return the encoding of a text file.

    Args:
        path: of the file.
        told: by the user; None: a byte order mark decides, else UTF-8.

    Raises:
        ValueError: the file seems to be UTF-16 without a byte order mark.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if told is not None:
        return "utf-8-sig" if codecs.lookup(told).name == "utf-8" else told
    if half := len(head) // 2:
        low, high = head[0 : 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
        if max(low, high) > half // 2:
            name = "utf-16-le" if high > low else "utf-16-be"
            raise ValueError(f"{path}: UTF-16 without a byte order mark; set encoding={name}")
    return "utf-8"


@contextmanager
def explain_decoding(path: Path, encoding: str) -> Iterator[None]:
    """Turn errors of decoding and reading into a ValueError that names the file, the line and the remedy."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UnicodeError as error:
        raise ValueError(_explain(path, encoding, error)) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None


def _explain(path: Path, encoding: str, error: UnicodeError) -> str:
    reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
    if not encoding.startswith("utf-8"):
        return f"{path}: not {encoding} ({reason}); name the encoding in which the file was saved, or save it as UTF-8"
    number, line, start = _find_undecodable(path)
    offers = []
    for name in _OFFERS:
        try:
            shown = line[max(0, start - _SHOWN) : start + _SHOWN].decode(name).strip()
        except UnicodeDecodeError:
            continue
        offers.append(f"encoding={name} would read {shown!r}")
    choice = "; ".join(offers)
    return f"{path}, line {number}: not UTF-8 ({reason}); save it again as CSV in UTF-8, or choose: {choice}"


def _find_undecodable(path: Path) -> tuple[int, bytes, int]:
    """Find the first line that is not UTF-8, and the first bad byte in it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return number, line, error.start
    return 1, b"", 0
