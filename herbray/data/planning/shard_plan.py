"""The shard plan: assigns specimens to bags, and bags to files.

A pure function of the catalogue and a seed; no image is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from herbray.data.draws import draw_numbers
from herbray.data.sorted_codes import encode_sorted

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShardFile:
    """Plan of one Parquet file.

    Attributes:
        path: below the shards folder.
        split: of its specimens.
        bags: catalogue rows of each bag.
        labels: label of each bag.
    """

    path: str
    split: str
    bags: tuple[Ints, ...]
    labels: tuple[str, ...]

    @property
    def rows(self) -> Ints:
        """Catalogue rows of the whole file, in the order of bags."""
        return np.concatenate(self.bags)


def plan_shards(
    ids: Sequence[str], labels: pa.ChunkedArray, splits: pa.Array, bag: int, file_rows: int, seed: int
) -> list[ShardFile]:
    """Assign specimens to bags of one label, and bags to files in random order.

    The result depends on the specimens, their labels and splits, not on the order of rows.

    Args:
        ids: of the specimens.
        labels: of the specimens; null only in rows of `unused`.
        splits: the split of each row; rows of `unused` are left out.
        bag: maximum number of specimens in a bag.
        file_rows: number of specimens at which a file is closed.
        seed: seed of the order of specimens in bags and of bags in files.
    """
    split_codes, names = encode_sorted(splits)
    label_codes, label_names = encode_sorted(labels)
    order = draw_numbers(seed, "bag", ids)
    files: list[ShardFile] = []
    for code, split in enumerate(names):
        if split == "unused":
            continue
        rows = np.flatnonzero(split_codes == code)
        codes = label_codes[rows]
        rows = rows[np.lexsort((order[rows], codes))]
        cuts = np.flatnonzero(np.diff(np.sort(codes))) + 1
        bags = [part[i : i + bag] for part in np.split(rows, cuts) for i in range(0, len(part), bag)]
        first = draw_numbers(seed, "file", [ids[part[0]] for part in bags])
        shuffled = [bags[i] for i in np.argsort(first, kind="stable")]
        groups = _group_into_files(shuffled, file_rows)
        files += [
            ShardFile(
                f"split={split}/part-{number:05d}.parquet",
                split,
                group,
                tuple(label_names[label_codes[part[0]]] for part in group),
            )
            for number, group in enumerate(groups)
        ]
    return files


def _group_into_files(bags: Sequence[Ints], file_rows: int) -> Iterator[tuple[Ints, ...]]:
    group: list[Ints] = []
    rows = 0
    for part in bags:
        group.append(part)
        rows += len(part)
        if rows >= file_rows:
            yield tuple(group)
            group, rows = [], 0
    if group:
        yield tuple(group)
