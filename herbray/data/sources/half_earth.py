"""The Herbarium 2021 Half-Earth challenge, or any dataset with the same COCO-like `metadata.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

from herbray.data.sources.base import Account, Refuse, SourceSpec
from herbray.data.sources.challenge import find_images, read_challenge
from herbray.data.sources.challenge_elements import Edition

EDITION: Final = Edition("half-earth-2021/")

CITATION: Final = (
    "de Lutio R., Lorieul T., Reade W. (2021) Herbarium 2021 - Half-Earth Challenge - FGVC8. Kaggle, "
    "https://kaggle.com/competitions/herbarium-2021-fgvc8. Images: New York Botanical Garden, Bishop Museum, "
    "Naturalis Biodiversity Center, Queensland Herbarium, Auckland War Memorial Museum. "
    "Terms: non-commercial research and education only; the images may not be distributed."
)


class HalfEarth(SourceSpec):
    """A folder of images with `metadata.json`: annotations, categories, images, institutions or regions, licenses.

    The genus is read from a category's name.

    Attributes:
        path: the folder with `metadata.json`, the dataset's folder that contains `train/`, or the file `metadata.json`.
    """

    name: Literal["half_earth"] = "half_earth"
    citation: str = CITATION
    path: Path

    @property
    def root(self) -> Path:
        """The folder of `metadata.json`."""
        return find_images(self.path, EDITION)

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the specimens; see `herbray.data.sources.challenge.read_challenge`."""
        return read_challenge(self.path, EDITION, refuse)
