"""Read a JSON file of any size, one element at a time, with the standard decoder on a moving window of text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from herbray import storage

CHUNK_CHARS: Final = 1 << 20
"""Characters read at a time."""

MAX_ELEMENT_CHARS: Final = 1 << 22
"""Maximum characters per element; a larger element means a broken or hostile file."""

_WHITESPACE: Final = " \t\n\r"
_MORE_DIGITS: Final = "+-.0123456789Ee"  # "12" may be the start of "12.5"; `in` is also true for "", the window's end
_DECODER: Final = json.JSONDecoder()


def stream_elements(path: Path) -> Iterator[tuple[str, Any]]:
    """Stream the top-level object of a JSON file (RFC 8259).

    Yields:
        (key, element) for each element of a member that is an array, (key, value) for any other member, in file order.
        At most a few megabytes are in memory, in addition to what the caller keeps.

    Raises:
        ValueError: the file is missing, not UTF-8, not a JSON object or truncated, or an element exceeds
            `MAX_ELEMENT_CHARS`.
    """
    try:
        with storage.fetch(path).open(encoding="utf-8-sig") as file:
            yield from _JsonReader(path, file).iterate_members()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); download it again") from None
    except storage.StoreUnreachable:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


class _JsonReader:
    """The part of the text that is in memory, and the current position in it."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file = path, file
        self.text, self.position, self.discarded = "", 0, 0
        self.has_ended = False
        self.key = "the top level"

    def iterate_members(self) -> Iterator[tuple[str, Any]]:
        self.expect("{")
        if self.peek() == "}":
            return
        while True:
            key = self.parse_value()
            if not isinstance(key, str):
                raise self.make_error("a key must be a string")
            self.key = key
            self.expect(":")
            if self.peek() == "[":
                for element in self.iterate_array():
                    yield key, element
            else:
                yield key, self.parse_value()
            if self.expect(",}") == "}":
                return

    def iterate_array(self) -> Iterator[Any]:
        self.expect("[")
        if self.peek() == "]":
            self.expect("]")
            return
        while True:
            yield self.parse_value()
            if self.expect(",]") == "]":
                return

    def peek(self) -> str:
        """Return the next character that is not whitespace; "" at the end of the file."""
        while True:
            while self.position < len(self.text):
                if self.text[self.position] not in _WHITESPACE:
                    return self.text[self.position]
                self.position += 1
            if not self.read_more():
                return ""

    def expect(self, wanted: str) -> str:
        found = self.peek()
        if not found:
            raise self.make_error("the file ends here; was the download interrupted?")
        if found not in wanted:
            raise self.make_error(f"{' or '.join(wanted)} expected, {found!r} found")
        self.position += 1
        return found

    def parse_value(self) -> Any:  # noqa: ANN401  (JSON has no narrower type)
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
            except RecursionError:
                raise self.make_error("nested too deeply") from None
            except ValueError as error:  # perhaps only cut by the end of the window
                what = str(error)
            else:
                if self.has_ended or self.text[end : end + 1] not in _MORE_DIGITS:
                    self.position = end
                    return value
                what = "a number without end"
            if self.has_ended or len(self.text) - self.position > MAX_ELEMENT_CHARS:
                raise self.make_error(f"{what}; was the download interrupted?")
            self.read_more()

    def read_more(self) -> bool:
        """Read more text and discard the text before the position; False at the end of the file."""
        fresh = self.file.read(CHUNK_CHARS)
        self.discarded += self.position
        self.text, self.position = self.text[self.position :] + fresh, 0
        self.has_ended = not fresh
        return bool(fresh)

    def make_error(self, what: str) -> ValueError:
        return ValueError(
            f"{self.path}: not valid JSON near character {self.discarded + self.position:,}, in {self.key}: {what}"
        )
