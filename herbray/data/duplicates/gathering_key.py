"""The key of a gathering, made from collector, number and date as herbaria write them."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

_NEXT_PERSON: Final = re.compile(r"[;|&/+]|\s(?:and|with|et|y|und|con|in)\s", re.I)
_PARTICLES: Final = frozenset("de da do dos das del della di du la le van von der den ten ter zu".split())
_SUFFIXES: Final = frozenset("jr sr ii iii iv".split())
_ROLES: Final = re.compile(r"^\s*(?:coll|leg|legit|collector)\b[.:]?\s*", re.I)
_DATE: Final = re.compile(r"^\d{4}(?:-\d\d){0,2}(?!\d)")
_INITIALS: Final = 4  # most capitals in a word that is read as initials, as in "Wilde WJJO de"


def make_gathering_key(collector: str, number: str, date: str) -> str | None:
    """Make a key that is the same for the duplicates of a gathering in several herbaria.

    Herbaria write a collector in many ways: "Gentry, A.H.", "A. H. Gentry & M. Fallen" and "Gentry AH" give "gentry".
    Only the first collector counts, and only the family name.

    Args:
        collector: one or more names.
        number: of the collector. Case, blanks and punctuation do not count: "1369-A" is "1369a".
        date: ISO 8601, of which the time does not count; other texts count as they are.

    Returns:
        "gentry | 1369a | 1985-04-24"; None without a collector or a number that has a digit.
    """
    name, digits = fold_collector(collector), _fold(number).removeprefix("no").removeprefix("nr").lstrip("0")
    if not name or not re.search(r"\d", digits):
        return None
    day = found[0] if (found := _DATE.match(date.strip())) else _fold(date)
    return " | ".join(part for part in (name, digits, day) if part)


@lru_cache(maxsize=1 << 16)  # a collection has few collectors
def fold_collector(text: str) -> str:
    """The family name of the first collector, in small letters without accents; "" if there is none."""
    first = _NEXT_PERSON.split(_ROLES.sub("", re.sub(r"\(.*?\)|\[.*?\]", " ", text)).strip())[0]
    before, comma, after = first.partition(",")
    names = _list_words(before)
    is_list = comma and (
        any(map(_is_initials, names)) or (len(names) > 1 and len(_list_words(after.split(",")[0])) > 1)
    )
    surnames = [word for word in names if not _is_initials(word)]
    if comma and not is_list:
        return _fold(surnames[-1]) if surnames else ""
    if not surnames:
        return _fold(before)
    if _is_initials(names[-1]):  # "Gentry A H"
        return _fold(surnames[-1])
    return _fold(names[-1])


def _list_words(text: str) -> list[str]:
    words = [re.sub(r"-\w$", "", word) for word in re.split(r"[\s.]+", text) if word]
    return [word for word in words if word.lower() not in _PARTICLES | _SUFFIXES]


def _is_initials(word: str) -> bool:
    letters = word.replace("-", "")
    return len(letters) == 1 or (letters.isupper() and letters.isalpha() and len(letters) <= _INITIALS)


def _fold(text: str) -> str:
    """Small letters and digits, without accents; letters that have none, as in "Иванов", stay."""
    bare = text
    if not text.isascii():
        bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[\W_]", "", bare.casefold())
