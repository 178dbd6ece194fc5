"""Herbarium-balanced bags: which rows of a bag an epoch reads, and which of them are in one group.

A bag holds rows of one label. Without balance, an epoch reads each of its rows once. With balance, the epoch reads as
many rows, but the herbaria of the bag have equal shares: sheets of a herbarium with few sheets are repeated, with
further views, and some sheets of the others wait for another epoch. An unknown herbarium counts as one herbarium.

The groups of a bag take their rows from different herbaria where possible, so that positives differ in paper, label and
light as well as in the plant. The rows are sorted by herbarium and dealt: group i of n has rows i, n + i, 2n + i, …
Two rows of a herbarium then share a group only if the herbarium has more than n rows, which forces this in any order.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.sorted_codes import encode_sorted

Ints = npt.NDArray[np.int64]

COLUMN: Final = "herbaria"
"""A column of the index in memory: for each bag, the herbaria of its rows, as numbers."""


def check_herbaria(institutions: pa.ChunkedArray, evenness: float) -> None:
    """Check that there are herbaria to balance.

    Args:
        institutions: of the training specimens; null counts as one institution.
        evenness: `Stream.herbaria`.

    Raises:
        ValueError: all specimens are of one institution.
    """
    if evenness and pc.count_distinct(institutions, mode="all").as_py() < 2:
        raise ValueError(
            f"stream.herbaria={evenness:g}, but all training sheets are of one herbarium: train on several "
            "(shard.splits.home lists them, null takes all), or set stream.herbaria=0"
        )


def add_herbaria(index: pa.Table, specimens: pa.Table) -> pa.Table:
    """Add the column `herbaria` to an index.

    Args:
        index: rows of `schema.INDEX`, in any order.
        specimens: `file`, `row_group`, `row` and `institution` of the rows of the bags, in any order.

    Returns:
        The bags, sorted by file and row group, with the herbarium of each row as a number.
    """
    bags, rows = (
        table.sort_by([(name, "ascending") for name in names])
        for table, names in ((index, ("file", "row_group")), (specimens, ("file", "row_group", "row")))
    )
    codes, _ = encode_sorted(rows["institution"])
    ends = np.concatenate([[0], np.cumsum(bags["rows"].to_numpy())])
    herbaria = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(codes, pa.int32()))
    return bags.append_column(COLUMN, herbaria)


def spread_over_herbaria(
    mixed: Ints, herbaria: Sequence[int], shape: tuple[int, int], evenness: float, rng: np.random.Generator
) -> Ints:
    """Arrange rows of a bag into groups, balanced over herbaria; see the module.

    Args:
        mixed: the rows of the bag in random order.
        herbaria: the herbarium of each row of the bag.
        shape: number of groups, and of rows per group.
        evenness: e: a herbarium of n rows gets a share in proportion to n ** (1 - e).
        rng: random generator.

    Returns:
        Int64 [groups, rows per group].
    """
    codes = np.asarray(herbaria)[mixed]
    kinds = rng.permutation(np.unique(codes))
    own = [mixed[codes == kind] for kind in kinds]
    weights = np.array([float(len(rows)) for rows in own]) ** (1 - evenness)
    total = shape[0] * shape[1]
    ends = np.floor(np.cumsum(weights) / weights.sum() * total + rng.random()).astype(np.int64)
    ends[-1] = total
    sizes = np.diff(ends, prepend=0)
    dealt = np.concatenate([np.resize(rows, size) for rows, size in zip(own, sizes.tolist(), strict=True)])
    groups = rng.permuted(dealt.reshape(shape[1], shape[0]).T, axis=1)
    return rng.permutation(groups)
