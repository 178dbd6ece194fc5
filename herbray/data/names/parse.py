"""Read one scientific name: its genus, its species, and whether it is doubtful or the name of a family.

Only what labels need is read; authors, years and ranks below the species are passed over. Two libraries parse whole
names, `gbif-name-parser` and `gnparser`; docs/log.md says how they compare with this module and why it exists.
"""

import re
import unicodedata
from typing import Final, NamedTuple

from herbray.data.names.words import (
    DOUBTS,
    FAMILIES_WITHOUT_ENDING,
    FAMILY_RANK,
    HIGHER_RANKS,
    INFRAGENERIC,
    NOT_EPITHETS,
    REMARKS,
    UNKNOWN,
)


class Name(NamedTuple):
    """What was read in a text.

    Attributes:
        genus: without a hybrid sign: "Sorbaronia" for "× Sorbaronia fallax".
        species: genus and epithet: "Rubus caesius", "Carex ×xanthocarpa"; or the epithet alone if the text has no more.
        family: if the text names a family instead of a genus.
        is_doubtful: the text says so ("cf.", "aff.", "?", "recurvata / platycarpa"); `species` is then None.
        is_read: False: the text is neither a name nor a word for "not known"; nothing else is set.
    """

    genus: str | None = None
    species: str | None = None
    family: str | None = None
    is_doubtful: bool = False
    is_read: bool = True


_SIGN: Final = "×"
_SIGNS: Final = re.compile(r"\s*[×✕✖⨉⨯]\s*")
_LONE_X: Final = re.compile(r"(?:(?<=\s)|^)[xX](?=\s)|^x(?=[A-Z])")
_BRACKETS: Final = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_WORD: Final = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
_CULTIVAR: Final = re.compile(r"\s['‘\"“].*")
_LEAST_LETTERS: Final = 2
_UNREAD: Final = Name(is_read=False)


def parse_name(text: str) -> Name:
    """Read a name of any rank, as in a column of names of species.

    >>> parse_name("RUBUS CAESIUS").species
    'Rubus caesius'
    >>> parse_name("Quercus cf. agrifolia Née")
    Name(genus='Quercus', species=None, family=None, is_doubtful=True, is_read=True)
    >>> parse_name("Rosaceae sp.").family
    'Rosaceae'
    """
    text, alternative = _tidy(text)
    words = [word for word in text.split() if _key(word) not in DOUBTS]
    is_doubtful = alternative is not None or "?" in text or len(words) < len(text.split())
    words = [word for word in (word.strip("?,;:") for word in words) if word]
    if words and words[0] in (_SIGN, "+"):
        words = words[1:] if len(words) > 1 and not words[1].islower() else [_SIGN + "".join(words[1:])]
    if words and _key(words[0]) in FAMILY_RANK:
        words = words[1:]
    if not words or _says_unknown(words):
        return Name()
    if family := _read_family(words[0]):
        return Name(family=family)
    if alternative is not None and alternative[:1].isupper():
        return Name(is_doubtful=True)  # two genera
    return _read_binomial(words, is_doubtful)


def parse_genus(text: str) -> Name:
    """Read the cell of a column of genera, in which any single word is a genus; `species` is None.

    >>> parse_genus("SERJANIA").genus
    'Serjania'
    """
    name = parse_name(text)
    tidied = _tidy(text)[0].removeprefix(_SIGN).removeprefix("+").strip(" ?")
    if name.genus is None and name.family is None and _WORD.fullmatch(tidied) and not _says_unknown([tidied]):
        return Name(genus=capitalize(tidied), is_doubtful=name.is_doubtful)
    return name._replace(species=None, is_read=name.is_read and not (name.species and name.genus is None))


def parse_higher(text: str) -> str | None:
    """Read the cell of a column of families or orders: None for "Incertae sedis" and the like; else with a capital."""
    tidied = " ".join(unicodedata.normalize("NFC", text).split())
    if not tidied or _says_unknown([tidied.split()[0]]):
        return None
    return capitalize(tidied) if _WORD.fullmatch(tidied) and (tidied.isupper() or tidied.islower()) else tidied


def capitalize(word: str) -> str:
    """Write a word with one capital, the first, unless it already mixes both cases: "Caroli-Gmelina" stays."""
    return word.capitalize() if word.isupper() or word.islower() else word


def _tidy(text: str) -> tuple[str, str | None]:
    """Return a name with one space between words and around hybrid signs, and what follows a slash, if any."""
    text = unicodedata.normalize("NFC", text).strip(" \t\r\n\u00a0\"“”'‘’*†")
    if "_" in text:
        is_file_name = " " not in text  # "Acer_Opalus" has no author
        text = text.replace("_", " ").strip()
        text = text[:1] + text[1:].lower() if is_file_name else text
    text = _LONE_X.sub(f" {_SIGN} ", _CULTIVAR.sub("", _BRACKETS.sub(" ", text)))
    text = re.sub(r"^\+\s*", "+ ", _SIGNS.sub(f" {_SIGN} ", text))
    before, slash, after = text.partition("/")
    if slash and not _says_unknown([text]):
        return " ".join(before.split()), after.strip()
    return " ".join(text.split()), None


def _key(word: str) -> str:
    return word.casefold().replace(".", "").strip(":;,")


def _says_unknown(words: list[str]) -> bool:
    key = _key(words[0])
    return key in UNKNOWN or key in HIGHER_RANKS or not any(letter.isalpha() for letter in key.replace(_SIGN, ""))


def _read_family(word: str) -> str | None:
    key = word.casefold()
    is_family = _WORD.fullmatch(word) and (key.endswith("aceae") or key in FAMILIES_WITHOUT_ENDING)
    return capitalize(word) if is_family else None


def _read_binomial(words: list[str], is_doubtful: bool) -> Name:
    if " ".join(words).isupper():
        words = [word if "." in word else word.lower() for word in words]
        words[0] = words[0].capitalize()
    first, rest = words[0], _skip_infrageneric(words[1:])
    if not rest and _is_epithet(first.removeprefix(_SIGN)):
        return Name(species=None if is_doubtful else first, is_doubtful=is_doubtful)  # an epithet without its genus
    if not _starts_name(first, rest):
        return _UNREAD
    genus = first.capitalize() if first.islower() or first.isupper() else first
    sign = _SIGN if rest[:1] == [_SIGN] else ""
    rest = rest[len(sign) :]
    if sign and rest and rest[0][0].isupper():
        return _read_formula(genus, rest[0])
    if _SIGN in rest:
        return _read_formula(genus, rest[rest.index(_SIGN) + 1] if rest[-1] != _SIGN else "")
    if is_doubtful or not rest or not _is_epithet(rest[0]):
        return Name(genus, is_doubtful=is_doubtful)
    return Name(genus, f"{genus} {sign}{rest[0]}")


def _skip_infrageneric(words: list[str]) -> list[str]:
    """Pass over "sect. Lobatae" after a genus."""
    return words[2:] if words and _key(words[0]) in INFRAGENERIC else words


def _starts_name(first: str, rest: list[str]) -> bool:
    """Whether a word is written like a genus (ICN, Art. 20); one in lower case needs an epithet after it."""
    if not _WORD.fullmatch(first) or len(first) < _LEAST_LETTERS:
        return False
    if first.islower():
        follows = [word for word in rest if word != _SIGN]
        has_number = any(letter.isdigit() for letter in "".join(follows))  # "pollen type 3"
        is_open = bool(follows) and _key(follows[0]) in UNKNOWN
        known = is_open or (bool(follows) and _is_epithet(follows[0]) and not has_number)
        return known and first not in REMARKS and len(first) > _LEAST_LETTERS
    parts = [part for part in first.split("-") if len(part) > 1]
    return first.isupper() or (first[0].isupper() and all(part[1:].islower() for part in parts))


def _is_epithet(word: str) -> bool:
    return (
        _WORD.fullmatch(word) is not None
        and word.islower()
        and len(word) >= _LEAST_LETTERS
        and word not in NOT_EPITHETS
        and word not in UNKNOWN
        and word not in HIGHER_RANKS
    )


def _read_formula(genus: str, other: str) -> Name:
    """Read a hybrid formula: the genus if both parents have it; the hybrid has no species."""
    is_same = not other[:1].isupper() or other == genus or (other.endswith(".") and genus.startswith(other[0]))
    return Name(genus if is_same else None)
