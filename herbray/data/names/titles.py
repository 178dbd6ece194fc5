"""Epithets with a capital: a column in title case, as spreadsheet programs and some data sets write it."""

import re
from collections.abc import Callable, Collection
from typing import Final

_SECOND: Final = re.compile(
    r"(?P<genus>\s*[A-Z][^\W\d_]+\s+(?:[x×X]\s*)?)(?P<epithet>[^\W\d_]{3,}(?:-[^\W\d_]+)*)(?=\s|$)"
)
_LEAST_NAMES: Final = 5  # fewer say too little about how a column is written
_SHARE: Final = 0.8


def lower_titles(texts: Collection[str]) -> Callable[[str], str] | None:
    """Decide whether the capitals of second words are those of a title or of authors ("Quercus Linnaeus").

    Args:
        texts: the distinct names of a column.

    Returns:
        What writes the epithet of a name in lower case; None if most second words are in lower case already.
    """
    epithets = [found["epithet"] for text in texts if (found := _SECOND.match(text))]
    titles = sum(epithet.istitle() for epithet in epithets)
    return _lower_epithet if len(epithets) >= _LEAST_NAMES and titles >= _SHARE * len(epithets) else None


def _lower_epithet(text: str) -> str:
    return _SECOND.sub(lambda found: found["genus"] + found["epithet"].lower(), text, count=1)
