"""The bags of a split, and the draw of an epoch: each bag once, or those of rare labels more often."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.planning.herbaria import COLUMN
from herbray.data.planning.window import Slice
from herbray.data.sorted_codes import encode_sorted

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bags:
    """The n bags of a split, sorted by file and row group, as arrays [n]: all epochs of a run have them in common.

    Attributes:
        files: names of the shard files.
        file: position in `files`.
        row_group: in the file.
        rows: number of rows.
        name: the label, as a position in the sorted labels of the split.
        label: the label, as a position in the class list; -1 if the list lacks it.
        herbaria: the herbarium of each row, all bags in one array, and positions [n + 1] of the bags in it; None: does
            not count.
    """

    files: list[str]
    file: Ints
    row_group: Ints
    rows: Ints
    name: Ints
    label: Ints
    herbaria: tuple[Ints, Ints] | None

    def __len__(self) -> int:
        """Number of bags."""
        return len(self.rows)

    @classmethod
    def from_index(cls, index: pa.Table, classes: Sequence[str], split: str, herbaria: bool) -> "Bags":
        """Collect the bags of a split.

        Args:
            index: rows of `schema.INDEX`, in any order; with the column `herbaria` if they count.
            classes: the labels.
            split: to read.
            herbaria: whether they count.

        Raises:
            ValueError: the split is empty.
        """
        found = index.filter(pc.equal(index["split"], split))
        if not found.num_rows:
            raise ValueError(f"the shards contain no row of split {split!r}: check the counts in their manifest.json")
        file, files = encode_sorted(found["file"])
        row_group = found["row_group"].to_numpy().astype(np.int64)
        order = np.argsort(file * (int(row_group.max()) + 1) + row_group, kind="stable")  # fast if sorted already
        name, names = encode_sorted(found["label"])
        label_of = {text: label for label, text in enumerate(classes)}
        label = np.array([label_of.get(text, -1) for text in names], np.int64)
        rows = found["rows"].to_numpy().astype(np.int64)[order]
        lists = found[COLUMN].take(pa.array(order)).combine_chunks() if herbaria else None
        return cls(
            files,
            file[order],
            row_group[order],
            rows,
            name[order],
            label[name[order]],
            None if lists is None else (lists.flatten().to_numpy(), np.concatenate([[0], np.cumsum(rows)])),
        )

    def count_self_pairs(self) -> Ints:
        """For each bag, how rarely a row is its own mate if mates are drawn with replacement, see `Slice`."""
        every = np.bincount(self.name, weights=self.rows).astype(np.int64)
        every[self.name[self.rows == 1]] = 0  # such a row is always its own mate, often enough for its whole label
        return every[self.name]

    def herbaria_of(self, bag: int) -> tuple[int, ...]:
        """The herbarium of each row of a bag; empty: does not count."""
        if self.herbaria is None:
            return ()
        herbaria, ends = self.herbaria
        return tuple(herbaria[ends[bag] : ends[bag + 1]].tolist())


@dataclass(frozen=True, eq=False)
class DrawnBags:
    """The bags of one epoch in the order in which they were drawn, cut into groups of rows: arrays [drawn].

    Attributes:
        bags: positions in `Bags`.
        copies: how often each was drawn before.
        groups: number of groups.
        ends: cumulative number of groups.
    """

    bags: Ints
    copies: Ints
    groups: Ints
    ends: Ints

    def cut(self, begin: int, end: int) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
        """Cut groups `begin` to `end` out of the epoch, which repeats from its start.

        Yields:
            For each repetition, arrays: bags, copies, and the first and last group of each bag.
        """
        total = int(self.ends[-1])
        while begin < end:
            lap, first = divmod(begin, total)
            last = min(total, first + end - begin)
            position, final = np.searchsorted(self.ends, [first, last - 1], side="right").tolist()
            here = slice(position, final + 1)
            starts = self.ends[here] - self.groups[here]
            cut = [np.clip(edge, first, last) - starts for edge in (starts, self.ends[here])]
            kept = cut[0] < cut[1]
            yield self.bags[here][kept], self.copies[here][kept] + 1000 * lap, cut[0][kept], cut[1][kept]
            begin += last - first


def draw_bags(rows: Ints, names: Ints, balance: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw the bags of an epoch in random order.

    Args:
        rows: number of rows of each bag.
        names: the label of each bag, from 0.
        balance: see `Stream.balance` of the plan.
        rng: random generator.

    Returns:
        Int64 [drawn], indices of bags; and how often each was drawn before.
    """
    times = np.ones(len(rows), np.int64)
    if balance:
        share = np.bincount(names, weights=rows)[names] ** -balance
        expected = share * (rows.sum() / (share * rows).sum())
        times = np.floor(expected + rng.random(len(rows))).astype(np.int64)
        if not times.any():
            times[:] = 1
    bags = np.repeat(np.arange(len(rows)), times)
    copies = np.arange(len(bags)) - np.repeat(np.cumsum(times) - times, times)
    order = rng.permutation(len(bags))
    return bags[order], copies[order]


def draw_groups(
    bags: Bags, group: int, balance: float, key: tuple[int, int], rng: np.random.Generator | None
) -> DrawnBags:
    """Draw the bags of an epoch and cut them into groups.

    Args:
        bags: of the split.
        group: adjacent rows of one label.
        balance: see `Stream.balance` of the plan.
        key: seed of the run and number of the epoch.
        rng: rounds the number of groups of each bag at random; None rounds up.
    """
    drawn, copies = draw_bags(bags.rows, bags.name, balance, np.random.default_rng([*key, 0]))
    sizes = bags.rows[drawn]
    groups = -(-sizes // group) if rng is None else (sizes / group + rng.random(len(sizes))).astype(np.int64)
    if not groups.any():
        groups[:] = 1
    return DrawnBags(drawn, copies, groups, np.cumsum(groups))


def make_slices(bags: Bags, self_pairs: Ints | None, chosen: Ints, *cut: Ints) -> Iterator[Slice]:
    """Make the slices of bags.

    Args:
        bags: of the split.
        self_pairs: of all bags, from `count_self_pairs`; None: no row is its own mate.
        chosen: positions of the m bags.
        cut: arrays [m]: copies, and the first and last group.
    """
    copies, starts, stops = (part.tolist() for part in cut)
    pairs = [0] * len(chosen) if self_pairs is None else self_pairs[chosen].tolist()
    columns = (part[chosen].tolist() for part in (bags.file, bags.row_group, bags.rows, bags.label))
    for bag, copy, start, stop, every, file, group, rows, label in zip(
        chosen.tolist(), copies, starts, stops, pairs, *columns, strict=True
    ):
        place = bags.files[file], group, rows
        yield Slice(bag, copy, *place, label, start, stop, every, bags.herbaria_of(bag))
