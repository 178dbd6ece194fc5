"""Untrusted text in Markdown: escaped, so that it is shown as plain text."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

_SPECIAL: Final = re.compile(r"([\\`*_\[\]|#~])")
_LIMIT: Final = 2_000


def escape(text: str, limit: int = _LIMIT) -> str:
    """Escape `text` for Markdown: one line, no markup, no HTML, no control characters, cut at `limit` characters."""
    line = " ".join(text.split())
    line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)
    line = line if len(line) <= limit else f"{line[:limit]}…"
    return _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every cell is escaped, headings are not."""
    lines = [head, ["---"] * len(head)]
    body = [[escape(cell, 200) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *body])


def code_block(text: str, kind: str = "") -> str:
    """`text` as a code block, in a fence longer than any run of backticks in the text."""
    runs = [len(run) for run in re.findall(r"`+", text)]
    fence = "`" * max(4, max(runs, default=0) + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"
