"""Reads a JSON file of any size, one element at a time: the standard decoder, moved along a window of text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

CHUNK: Final = 1 << 20
"""Characters read at a time."""

LIMIT: Final = 1 << 22
"""Characters that one element may have: more is a broken or a hostile file."""

_SPACE: Final = " \t\n\r"
_MORE_DIGITS: Final = "+-.0123456789Ee"  # "12" may be the start of "12.5"; "" (the window's edge) counts as one of them
_DECODER: Final = json.JSONDecoder()


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """Stream the top-level object of a JSON file (RFC 8259).

    Yields:
        (key, element) for each element of a member that is an array, (key, value) for any other member, in file order.
        Beside the caller's own, never more than a few megabytes are held.

    Raises:
        ValueError: the file is absent, not UTF-8, not a JSON object, cut short, or one element exceeds `LIMIT`.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Window(path, file).members()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); download it again") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


class _Window:
    """The part of the text that is in memory and the place reached in it."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.text, self.place, self.passed = "", 0, 0
        self.ended = False
        self.key = "the top level"

    def members(self) -> Iterator[tuple[str, Any]]:
        self.take("{")
        if self.peek() == "}":
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise self.fault("a key must be a string")
            self.key = key
            self.take(":")
            if self.peek() == "[":
                for element in self.array():
                    yield key, element
            else:
                yield key, self.value()
            if self.take(",}") == "}":
                return

    def array(self) -> Iterator[Any]:
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def peek(self) -> str:
        """The next character that is no space; "" at the end of the file."""
        while True:
            while self.place < len(self.text):
                if self.text[self.place] not in _SPACE:
                    return self.text[self.place]
                self.place += 1
            if not self.more():
                return ""

    def take(self, wanted: str) -> str:
        found = self.peek()
        if not found:
            raise self.fault("the file ends here; was the download cut short?")
        if found not in wanted:
            raise self.fault(f"{' or '.join(wanted)} expected, {found!r} found")
        self.place += 1
        return found

    def value(self) -> Any:  # noqa: ANN401  (JSON has no narrower type)
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.place)
            except RecursionError:
                raise self.fault("nested too deeply") from None
            except ValueError as error:  # perhaps only cut by the window's edge
                what = str(error)
            else:
                if self.ended or self.text[end : end + 1] not in _MORE_DIGITS:
                    self.place = end
                    return value
                what = "a number without end"
            if self.ended or len(self.text) - self.place > LIMIT:
                raise self.fault(f"{what}; was the download cut short?")
            self.more()

    def more(self) -> bool:
        """Read on, forgetting what lies behind; False at the end of the file."""
        fresh = self.file.read(CHUNK)
        self.passed += self.place
        self.text, self.place = self.text[self.place :] + fresh, 0
        self.ended = not fresh
        return bool(fresh)

    def fault(self, what: str) -> ValueError:
        return ValueError(
            f"{self.path}: not valid JSON near character {self.passed + self.place:,}, in {self.key}: {what}"
        )
