"""robots.txt as RFC 9309 has it: groups by product token, the longest rule wins, `*` and `$`; and Crawl-delay.

`urllib.robotparser` takes the first rule instead of the longest and reads `*` literally, so it would fetch what owners
forbid.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

MAX_BYTES: Final = 500 * 1024
"""So much of the file is read; RFC 9309 asks for at least this."""

_TOKEN: Final = re.compile(r"[A-Za-z_-]+|\*")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True)
class Rules:
    """What a site allows us.

    Attributes:
        rules: pattern and whether it allows.
        delay_s: seconds that the site wants between two requests.
    """

    rules: tuple[tuple[str, bool], ...] = ()
    delay_s: float = 0.0

    def allows(self, path: str) -> bool:
        """Whether a path with its query may be fetched: the longest pattern that fits decides, of two equal `Allow`."""
        path = _normalise(path)
        fitting = [(len(pattern), allowed) for pattern, allowed in self.rules if _fits(pattern, path)]
        return max(fitting, default=(0, True))[1]


def parse_rules(data: bytes, product: str) -> Rules:
    """Read the groups of a product token, else those of `*`; a file without either allows everything."""
    groups = list(_read_groups(data[:MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")))
    for name in (product.lower(), "*"):
        lines = [line for agents, lines in groups if name in agents for line in lines]
        if any(name in agents for agents, _ in groups):
            return Rules(
                tuple((_normalise(value), key == "allow") for key, value in lines if key != "crawl-delay" and value),
                max((_read_delay(value) for key, value in lines if key == "crawl-delay"), default=0.0),
            )
    return Rules()


def _read_groups(text: str) -> Iterator[tuple[frozenset[str], Sequence[tuple[str, str]]]]:
    """Yield the product tokens and the lines of each group."""
    agents: set[str] = set()
    lines: list[tuple[str, str]] = []
    for raw in re.split(r"\r\n|\r|\n", text):
        key, colon, value = raw.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            if lines:
                yield frozenset(agents), lines
                agents, lines = set(), []
            token = _TOKEN.match(value)
            agents |= {token[0].lower()} if token else set()
        elif key in ("allow", "disallow", "crawl-delay"):
            lines.append((key, value))
    yield frozenset(agents), lines


def _read_delay(text: str) -> float:
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) else 0.0


def _normalise(text: str) -> str:
    """Escape what is not ASCII, and write escapes in one way."""
    return _ESCAPE.sub(_write_escape, quote(text, safe="".join(map(chr, range(0x21, 0x7F)))))


def _write_escape(match: re.Match[str]) -> str:
    letter = chr(int(match[0][1:], 16))
    return letter if letter in _UNRESERVED else match[0].upper()


def _fits(pattern: str, path: str) -> bool:
    """Whether a pattern fits the start of a path; in linear time, because patterns are not trusted."""
    whole = pattern.endswith("$")
    first, *parts = (pattern[:-1] if whole else pattern).split("*")
    if not path.startswith(first):
        return False
    if not parts:
        return path == first if whole else True
    at = len(first)
    for part in parts[:-1] if whole else parts:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return not whole or (len(path) - len(parts[-1]) >= at and path.endswith(parts[-1]))
