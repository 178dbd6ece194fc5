"""Words in names of plants that are no names: ranks, doubts, authors' particles, and texts for "not known"."""

from typing import Final

FAMILIES_WITHOUT_ENDING: Final = frozenset(
    ("compositae", "cruciferae", "gramineae", "guttiferae", "labiatae", "leguminosae", "palmae", "umbelliferae")
)
"""The families whose conserved names do not end in -aceae (ICN, Art. 18.5)."""

FAMILY_RANK: Final = frozenset(("family", "familia", "fam"))

DOUBTS: Final = frozenset(("cf", "aff", "nr", "near", "prob", "probably", "possibly", "perhaps", "or", "vel"))
"""Words for a doubtful determination (open nomenclature)."""

HIGHER_RANKS: Final = frozenset(
    (
        *("genus", "gen", "subgenus", "subgen", "subg", "section", "sect", "nothosect", "series", "ser"),
        *("tribe", "tribus", "subtribe", "subfamily", "subfam", "order", "ordo", "class", "group", "species", "spec"),
    )
)
"""Ranks between species and family, and words before a name that say its rank."""

INFRAGENERIC: Final = frozenset(
    (
        "subgenus",
        "subgen",
        "subg",
        "section",
        "sect",
        "subsection",
        "subsect",
        "series",
        "ser",
        "nothosect",
        "nothosubg",
    )
)
"""Ranks whose name stands between a genus and an epithet."""

UNKNOWN: Final = frozenset(
    (
        *(
            "unknown",
            "unidentified",
            "undetermined",
            "undet",
            "indetermined",
            "indeterminate",
            "indet",
            "ignotus",
            "ined",
        ),
        *("incertae", "sp", "spp", "none", "no", "not", "null", "nan", "na", "n/a", "hybrid", "hybr", "unnamed"),
        *("missing", "blank", "various", "mixed", "misc", "tba", "tbd", "unplaced", "unassigned", "unclassified"),
    )
)
"""First words of texts that say that there is no name: "Incertae sedis", "No name", "not determined"."""

REMARKS: Final = frozenset(
    (
        "to",
        "the",
        "see",
        "new",
        "needs",
        "same",
        "from",
        "with",
        "label",
        "check",
        "duplicate",
        "specimen",
        "sheet",
        "as",
    )
)
"""First words of remarks; the first word of a remark in lower case is no genus."""

NOT_EPITHETS: Final = frozenset(
    (
        *("ind", "nov", "agg", "aggr", "complex", "var", "subsp", "ssp", "f", "fo", "forma", "cv", "hort", "seedling"),
        *(
            "ex",
            "et",
            "and",
            "in",
            "de",
            "da",
            "di",
            "del",
            "della",
            "der",
            "den",
            "du",
            "la",
            "le",
            "van",
            "von",
            "zu",
        ),
        *("auct", "auctt", "non", "nec", "sensu"),
    )
)
"""Words in lower case after a genus that are no epithets: ranks, and particles of authors' names."""
