"""What is in a collection, as far as the plan needs it: from its catalogue, or estimated from a few given numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from herbray import schema
from herbray.data.labels import read_labels
from herbray.data.splitting.splits import Splits, split
from herbray.flow.shards.build import Shard, read_catalogue
from herbray.sizing.demand import expected_bags
from herbray.sizing.specification import Collection

_SAMPLED: Final = 200  # sheets whose files are looked at
_MEASURED: Final = 20  # sheets whose headers are read


@dataclass(frozen=True)
class SplitCounts:
    """One split.

    Attributes:
        images: in it.
        bags: in its shards.
        classes: names of each rank.
    """

    images: int
    bags: int
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Counts:
    """A collection.

    Attributes:
        sheets: rows of the catalogue.
        splits: by name, without empty and unused ones.
        sheet_bytes: mean size of a sheet's file.
        sheet_px: mean number of pixels of a sheet.
        aspect: mean of its long side divided by its short side.
        row_bytes: labels of one specimen in a table.
    """

    sheets: int
    splits: Mapping[str, SplitCounts]
    sheet_bytes: float
    sheet_px: int
    aspect: float
    row_bytes: float

    def images(self, names: Sequence[str] = schema.SPLITS) -> int:
        """Images of these splits together."""
        return sum(self.splits[name].images for name in names if name in self.splits)

    def largest_file(self, file_rows: int, names: Sequence[str] = schema.SPLITS) -> int:
        """Images of the largest shard file of these splits."""
        return min(file_rows, max((self.splits[name].images for name in names if name in self.splits), default=0))

    def files(self, file_rows: int, names: Sequence[str] = schema.SPLITS) -> int:
        """Shard files of these splits together."""
        return sum(math.ceil(self.splits[name].images / file_rows) for name in names if name in self.splits)


def count_collection(collection: Collection, shard: Shard) -> Counts:
    """Count a collection.

    Args:
        collection: with a catalogue, or with a number of sheets.
        shard: settings of the splits and of the bags.

    Raises:
        ValueError: neither a catalogue nor a number of sheets is given, the catalogue cannot be read, or a split is
            unknown.
    """
    if collection.catalogue is not None:
        return _count_catalogue(collection, shard.model_copy(update={"catalogue": collection.catalogue}))
    if collection.sheets is None:
        raise ValueError("nothing to plan for: set collection.catalogue to a folder, or collection.sheets to a number")
    given = collection.splits or estimate_splits(collection.sheets, collection.species, shard.splits)
    if unknown := set(given) - set(schema.SPLITS[:-1]):
        raise ValueError(f"collection.splits: no split {', '.join(sorted(unknown))}; {', '.join(schema.SPLITS[:-1])}")
    if sum(given.values()) > collection.sheets:
        raise ValueError(f"collection.splits hold {sum(given.values()):,} images of {collection.sheets:,} sheets")
    splits = {name: _estimate_counts(collection, images, shard.bag) for name, images in given.items() if images}
    short, long = sorted(collection.sheet_px)
    sheet_bytes = collection.sheet_kb * 1e3
    return Counts(collection.sheets, splits, sheet_bytes, short * long, long / short, collection.row_bytes)


def estimate_splits(sheets: int, species: int | None, splits: Splits) -> dict[str, int]:
    """Images of each split if every share of the settings is met exactly; no herbarium test.

    With a cap, at most `cap` sheets of each species are used: the numbers are then an upper bound.

    Args:
        sheets: in the catalogue.
        species: in the catalogue; needed for a cap.
        splits: settings.

    Raises:
        ValueError: there is a cap, but no number of species.
    """
    if splits.cap is not None and species is None:
        raise ValueError("collection.species is needed for shard.splits.cap; or set shard.splits.cap=null")
    used = min(sheets, splits.cap * species) if splits.cap is not None and species is not None else sheets
    new_species = round(used * splits.species)
    random = round((used - new_species) * splits.random)
    validation = round((used - new_species - random) * splits.validation)
    train = used - new_species - random - validation
    return {"train": train, "validation": validation, "species": new_species, "random": random}


def _estimate_counts(collection: Collection, images: int, bag: int) -> SplitCounts:
    ranks = {"order": collection.orders, "family": collection.families, "genus": collection.genera}
    classes = {rank: min(images, number) for rank, number in ranks.items()}
    return SplitCounts(images, expected_bags(images, classes["genus"], bag), classes)


def _count_catalogue(collection: Collection, shard: Shard) -> Counts:
    table = read_catalogue(shard)
    assigned = split(table, shard.splits, shard.seed, shard.labels.rank)
    labels = read_labels(table, shard.labels.rank)
    splits = {}
    for name in schema.SPLITS[:-1]:
        mask = pc.equal(assigned, name)
        if rows := pc.sum(mask).as_py():
            splits[name] = _count_split(table.filter(mask), labels.filter(mask), rows, shard.bag)
    sample = sample_files([Path(image) for image in table["image"].to_pylist()])
    return Counts(len(table), splits, sample.bytes, sample.pixels, sample.aspect, collection.row_bytes)


def _count_split(table: pa.Table, labels: pa.ChunkedArray, rows: int, bag: int) -> SplitCounts:
    sizes = pc.value_counts(labels.combine_chunks()).field("counts").to_numpy()
    classes = {rank: pc.count_distinct(table[rank], mode="only_valid").as_py() for rank in schema.RANKS}
    return SplitCounts(rows, int(np.ceil(sizes / bag).sum()), classes)


@dataclass(frozen=True)
class Sample:
    """Means over a sample of sheets.

    Attributes:
        bytes: of a file.
        pixels: of a sheet.
        aspect: long side divided by short side.
    """

    bytes: float
    pixels: int
    aspect: float


def sample_files(paths: Sequence[Path]) -> Sample:
    """Look at files spread evenly over a collection, and at the headers of some.

    Raises:
        ValueError: none of them can be read.
    """
    chosen = paths[:: max(1, len(paths) // _SAMPLED)]
    files = [path.stat().st_size for path in chosen if path.is_file()]
    sides = [found for path in chosen[:: max(1, len(chosen) // _MEASURED)] if (found := _read_sides(path))]
    if not files or not sides:
        raise ValueError(f"{paths[0]}: none of {len(chosen)} files can be read here; the plan looks at sheets")
    pixels = round(mean(width * height for width, height in sides))
    return Sample(mean(files), pixels, mean(max(each) / min(each) for each in sides))


def _read_sides(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return image.size
    except OSError:
        return None
