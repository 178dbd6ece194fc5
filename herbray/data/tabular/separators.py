"""The separator of a delimited text: declared in its first line, or found from the header and the rows after it."""

import csv
import re
from collections.abc import Sequence
from typing import Final

SEPARATORS: Final = (",", ";", "\t", "|")
"""The separators that are recognised; any other single character can be set."""

SAMPLE_LINES: Final = 100
"""Number of lines from which the separator is found."""

_DECLARATION: Final = re.compile(r"""^"?sep=(.)"?[,;\t|]*\s*$""", re.IGNORECASE)

NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
"""Names of the separators in messages."""


def read_declaration(line: str) -> str | None:
    """Return the separator that a first line `sep=;` declares (Excel's convention); None for any other line."""
    match = _DECLARATION.match(line)
    return match[1] if match else None


def find_separator(lines: Sequence[str]) -> str:
    """Find the separator that splits the header, and most rows into as many fields as the header.

    Args:
        lines: the first lines of the text, with their ends.

    Returns:
        A member of `SEPARATORS`; a comma if the header is one field for each of them.

    Raises:
        ValueError: several separators fit equally well.
    """
    scores = {separator: score for separator in SEPARATORS if (score := _score(lines, separator))}
    if not scores:
        return ","
    best = max(scores.values())
    found = [separator for separator, score in scores.items() if score == best]
    if len(found) > 1:
        names = " and ".join(NAMES[separator] for separator in found)
        raise ValueError(f"{names} split the lines equally well; say which separates the fields, e.g. delimiter=';'")
    return found[0]


def _score(lines: Sequence[str], separator: str) -> tuple[float, int] | None:
    """The share of rows with as many fields as the header, and this number; None if the header is one field."""
    counts = [len(fields) for fields in csv.reader(lines, delimiter=separator) if any(map(str.strip, fields))]
    if not counts or counts[0] < 2:
        return None
    return round(counts.count(counts[0]) / len(counts), 1), counts[0]
