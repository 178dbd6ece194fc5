"""The Herbarium challenges of 2019, 2020 and 2022, each as it is published; that of 2021 is `half_earth`."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa

from herbray import storage
from herbray.data.sources.base import BATCH_ROWS, Account, GuardedFolder, Refuse, SourceSpec, make_batch
from herbray.data.sources.challenge import find_images, read_challenge
from herbray.data.sources.challenge_elements import Edition

_NEW_YORK: Final = "NY"

_TERMS: Final = "Terms: non-commercial research and education only; the images may not be distributed."

EDITION_2020: Final = Edition("herbarium-2020/", institution=_NEW_YORK)
EDITION_2022: Final = Edition(
    "herbarium-2022/",
    files=("train_metadata.json", "h22-train/metadata.json", "metadata.json"),
    folders=("train_images", "h22-train/images", "images"),
    text_ids=True,
)


class Herbarium2019(SourceSpec):
    """The Herbarium 2019 challenge: melastomes of New York in folders `train/CATEGORY/ID.jpg`, without metadata.

    The challenge does not publish the names of its categories, so the species is "category 182". Train with
    `shard.labels.rank=species`. The sheets of `test/` have no category. Of the full and the small edition
    (`small-train`), the full one is used if both are there.

    Attributes:
        path: the folder that contains `train/`, `validation/` and `test/`, or those of the small edition.
    """

    name: Literal["herbarium_2019"] = "herbarium_2019"
    citation: str = (
        "Tan K.C., Liu Y., Ambrose B., Tulig M., Belongie S. (2019) The Herbarium Challenge 2019 Dataset. "
        f"arXiv:1906.05372. Images: New York Botanical Garden. {_TERMS}"
    )
    path: Path

    @property
    def root(self) -> Path:
        """The folder."""
        return self.path if storage.is_remote(self.path) else self.path.resolve()

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the files; see `SourceSpec.read`. Refused: links that leave the folder ("outside").

        Raises:
            ValueError: there is no folder of the training part.
        """
        size = next((each for each in ("", "small-") if storage.is_folder(self.path / f"{each}train")), None)
        if size is None:
            raise ValueError(f"{self.path}: contains neither train nor small-train; unpack the dataset there")
        patterns = {"train": "*/*.jpg", "validation": "*/*.jpg", "test": "*.jpg"}
        files = itertools.chain(*(storage.glob(self.path / f"{size}{part}", each) for part, each in patterns.items()))
        guard = GuardedFolder(self.root)
        while chunk := list(itertools.islice(files, BATCH_ROWS)):
            yield self._make_batch([file.relative_to(self.path).as_posix() for file in chunk], guard, refuse)

    def _make_batch(self, names: list[str], guard: GuardedFolder, refuse: Refuse) -> pa.RecordBatch:
        rows = []
        for name in names:
            _, *category, _ = name.split("/")
            identity = f"herbarium-2019/{name.removeprefix('small-').removesuffix('.jpg')}"
            place = guard.locate(name)
            if place is None:
                refuse(identity, name, "outside", f"images must stay inside {guard.folder}, also through links")
            else:
                rows.append((identity, place, f"category {category[0]}" if category else None))
        ids, places, species = zip(*rows, strict=True) if rows else ((), (), ())
        constants = {"order": "Myrtales", "family": "Melastomataceae", "institution": _NEW_YORK}
        columns = {name: [value] * len(rows) for name, value in constants.items()}
        return make_batch({"specimen_id": list(ids), "image": list(places), "species": list(species), **columns})


class Herbarium2020(SourceSpec):
    """The Herbarium 2020 challenge: a million sheets of New York, with `metadata.json`.

    All specimens are of the institution NY; the region where they were collected is not used.

    Attributes:
        path: the folder with `metadata.json`, the dataset's folder that contains `train/`, or the file `metadata.json`.
    """

    name: Literal["herbarium_2020"] = "herbarium_2020"
    citation: str = (
        "Kaeser-Chen C., Tan K.C., Reade W., Demkin M. (2020) Herbarium 2020 - FGVC7. Kaggle, "
        f"https://kaggle.com/competitions/herbarium-2020-fgvc7. Images: New York Botanical Garden. {_TERMS}"
    )
    path: Path

    @property
    def root(self) -> Path:
        """The folder of `metadata.json`."""
        return find_images(self.path, EDITION_2020)

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the specimens; see `herbray.data.sources.challenge.read_challenge`."""
        return read_challenge(self.path, EDITION_2020, refuse)


class Herbarium2022(SourceSpec):
    """The Herbarium 2022 challenge, Flora of North America: `train_metadata.json` and `train_images/`.

    The species is the genus and the epithet; infraspecific names and authors are left out.

    Attributes:
        path: the dataset's folder, or the file `train_metadata.json`.
    """

    name: Literal["herbarium_2022"] = "herbarium_2022"
    citation: str = (
        "Hogan B., inversion, Park J., de Lutio R. (2022) Herbarium 2022 - FGVC9. Kaggle, "
        "https://kaggle.com/competitions/herbarium-2022-fgvc9. Images: New York Botanical Garden and 59 other "
        f"institutions. {_TERMS}"
    )
    path: Path

    @property
    def root(self) -> Path:
        """The folder of the images."""
        return find_images(self.path, EDITION_2022)

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the specimens; see `herbray.data.sources.challenge.read_challenge`."""
        return read_challenge(self.path, EDITION_2022, refuse)
