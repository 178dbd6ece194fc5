"""The shard plan: which specimen goes into which bag, and which bag into which file.

A pure function of the catalogue and a seed. No image is read to make it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from herbray.data.draws import draws
from herbray.data.ranks import ranked

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShardFile:
    """One Parquet file to be: its path below the shards folder, and the catalogue rows of each of its bags."""

    path: str
    split: str
    bags: tuple[Ints, ...]

    @property
    def rows(self) -> Ints:
        """Catalogue rows of the whole file, bag after bag."""
        return np.concatenate(self.bags)


def shard_plan(catalogue: pa.Table, splits: pa.Array, bag: int, file_rows: int, seed: int) -> list[ShardFile]:
    """Deal the specimens to bags of one genus, and the bags to files in random order.

    The result depends on the set of specimens, their genera and splits, not on the order of rows.

    Args:
        catalogue: rows of `schema.CATALOGUE`.
        splits: the split of each row; `unused` rows are left out.
        bag: most specimens in a bag, all of one genus.
        file_rows: a file is closed when it holds so many specimens.
        seed: of the order of specimens in bags and of bags in files.
    """
    side, names = ranked(splits)
    genus, _ = ranked(catalogue["genus"])
    ids = catalogue["specimen_id"].to_pylist()
    order = draws(seed, "bag", ids)
    files: list[ShardFile] = []
    for place, split in enumerate(names):
        if split == "unused":
            continue
        rows = np.flatnonzero(side == place)
        rank = genus[rows]
        rows = rows[np.lexsort((order[rows], rank))]
        cuts = np.flatnonzero(np.diff(np.sort(rank))) + 1
        bags = [part[i : i + bag] for part in np.split(rows, cuts) for i in range(0, len(part), bag)]
        first = draws(seed, "file", [ids[part[0]] for part in bags])
        dealt = [bags[i] for i in np.argsort(first, kind="stable")]
        groups = _close(dealt, file_rows)
        files += [ShardFile(f"split={split}/part-{i:05d}.parquet", split, group) for i, group in enumerate(groups)]
    return files


def _close(bags: Sequence[Ints], file_rows: int) -> Iterator[tuple[Ints, ...]]:
    held: list[Ints] = []
    for part in bags:
        held.append(part)
        if sum(map(len, held)) >= file_rows:
            yield tuple(held)
            held = []
    if held:
        yield tuple(held)
