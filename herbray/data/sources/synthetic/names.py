"""Invented Latin names that resemble plant names but belong to no plant."""

from typing import Final

import numpy as np

_ONSETS: Final = (
    *("Bel", "Cal", "Cor", "Dal", "Dry", "Ely", "Fal", "Fen", "Gal", "Gly", "Hal", "Hes", "Isch", "Jor", "Kel", "Lam"),
    *("Lyr", "Mel", "Myr", "Nel", "Nym", "Ol", "Or", "Pel", "Phyl", "Quer", "Rhod", "Sal", "Sol", "Tal", "Thel", "Ul"),
    *("Vel", "Ver", "Wil", "Xan", "Zel", "Aur", "Bry", "Chlor"),
)
_MIDDLES: Final = (
    *("ab", "ac", "ad", "al", "am", "an", "ar", "av", "ed", "el", "em", "en", "er", "ev", "ib", "id", "il", "im", "in"),
    *("ir", "iv", "ob", "od", "ol", "om", "on", "op", "or", "oth", "ub", "ul", "ur", "yl", "yn"),
)
_CODAS: Final = ("and", "ant", "el", "ell", "er", "ill", "inth", "is", "ist", "od", "ol", "or", "os", "ost", "ul", "yr")
_ENDINGS: Final = {"f": ("a", "ia", "ea"), "m": ("us", "ius"), "n": ("um", "ium")}
_PREFIXES: Final = ("sub", "per", "pseudo", "semi", "neo", "prae", "trans")
_STEMS: Final = (
    *("acut", "alb", "alpin", "angust", "aquatic", "argente", "aure", "auriculat", "caespitos", "candid", "carnos"),
    *("cernu", "cinere", "clivos", "collin", "cordat", "crisp", "dens", "divaricat", "elongat", "erect", "fulv"),
    *("gelid", "gibbos", "glabr", "hirsut", "hispid", "humifus", "incan", "laet", "lanat", "lat", "lucid", "lute"),
    *("maculat", "maritim", "mir", "modest", "montan", "nan", "nitid", "obscur", "odorat", "pallid", "patul"),
    *("pendul", "petrae", "plan", "procer", "prostrat", "pulchell", "pumil", "purpure", "ramos", "rigid", "rotundat"),
    *("rugos", "rustic", "serice", "serotin", "silvatic", "spinos", "splendid", "squarros", "strict", "sulcat"),
    *("tomentos", "tortuos", "umbros", "undulat", "variegat", "velutin", "venust", "villos", "virgat", "viscid"),
)
_ADJECTIVE: Final = {"f": "a", "m": "us", "n": "um"}

HERBARIA: Final = (
    ("OAK", "Oakmere Botanic Garden"),
    ("REEF", "Reef Museum of Natural History"),
    ("HOLM", "Holm Centre for Biodiversity"),
    ("WOLD", "Wold University Herbarium"),
    ("TARN", "Tarn National Herbarium"),
    ("CAIRN", "Cairn Society of Botany"),
    ("DELL", "Dell House Museum"),
    ("LARK", "Larkfield Arboretum"),
)
"""Codes that no real herbarium uses, so that a synthetic sheet is never mistaken for a real one."""

COLLECTORS: Final = (
    *("A. Thistlewood", "B. Underhay", "C. Marsh-Fenn", "D. Quillfeather", "E. Ashgrove", "F. Lindqvane", "G. Oakum"),
    *("H. Bramblecote", "I. Sedgeley", "J. Hollinbourn", "K. Rushmoor", "L. Petalow", "M. Corymb", "N. Ferneyhough"),
    *("O. Calyxton", "P. Stipule", "Q. Umbelton", "R. Mosswood", "S. Larchmont", "T. Vetchling"),
)


def invent_genera(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Invent `count` different genus names, each with its grammatical gender ("f", "m" or "n")."""
    found: dict[str, str] = {}
    while len(found) < count:
        syllables = 1 if rng.random() < 0.75 else 2
        middle = "".join(_pick(_MIDDLES, rng) for _ in range(syllables))
        gender = _pick(("f", "f", "f", "m", "n"), rng)
        found.setdefault(_pick(_ONSETS, rng) + middle + _pick(_CODAS, rng) + _pick(_ENDINGS[gender], rng), gender)
    return list(found.items())


def invent_epithets(count: int, gender: str, rng: np.random.Generator) -> list[str]:
    """Invent `count` different species epithets that agree in gender with their genus."""
    found: dict[str, None] = {}
    while len(found) < count:
        prefix = _pick(_PREFIXES, rng) if rng.random() < 0.15 or len(found) > len(_STEMS) // 2 else ""
        first = (
            _pick(_STEMS, rng) + "o-" if len(found) > 2 * len(_STEMS) else ""
        )  # enough combinations for genera of thousands of species
        found.setdefault(prefix + first + _pick(_STEMS, rng) + _ADJECTIVE[gender], None)
    return list(found)


def derive_stem(genus: str) -> str:
    """Derive the stem of the names of families and orders named after `genus`: "Veladillia" → "Veladilli"."""
    for ending in ("ium", "ius", "ia", "ea"):
        if genus.endswith(ending):
            return genus.removesuffix(ending) + "i" * (ending != "ea")
    return genus.removesuffix("um").removesuffix("us").removesuffix("a")


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.random() * len(options))]
