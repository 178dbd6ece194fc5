"""Ranks and splits, and the version of all tables."""

from typing import Final

VERSION: Final = 3
"""Version of the schemas below; written into every manifest."""

RANKS: Final = ("order", "family", "genus", "species")
"""Taxonomic ranks, from the widest to the narrowest."""

SPLITS: Final = ("train", "validation", "herbarium", "species", "random", "unused")
"""In Walker et al. 2022, `herbarium` is H, `species` is S and `random` is R. `unused` rows belong to no split."""

TEST_SPLITS: Final = ("herbarium", "species", "random")
"""The splits on which encoders are tested."""
