"""The epoch plan is the dataset: which rows of the shards make which training batch.

A pure function of the shard index and a seed. No image is read, moved or shuffled to make it; `data.bags` has the plan
of the shards themselves.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec
from herbray.data.rivals import any_genus, any_row

Ints = npt.NDArray[np.int64]


class Stream(Spec):
    """How rows become batches."""

    batch: int = Field(64, ge=1, description="rows a batch on each rank, before views")
    window: int = Field(48, ge=1, description="bags that are mixed with one another")
    align: int = Field(
        4, ge=1, description="windows an epoch are a multiple of this, so that such world sizes share them"
    )
    balance: float = Field(0.0, ge=0.0, le=1.0, description="0: genera as often as they are; 1: all equally often")


@dataclass(frozen=True)
class Slice:
    """Groups `start` to `stop` of one bag, in the order that the bag has in this epoch."""

    bag: int  # place in the sorted index
    copy: int  # a bag drawn twice in an epoch has two orders
    file: str
    row_group: int
    rows: int
    label: int
    start: int
    stop: int
    kin: int = 0  # a row is its own mate once in so many times; 0: never


@dataclass(frozen=True)
class Window:
    """The unit of work and of resumption: `batches` exact batches, made of the slices' rows and of nothing else."""

    seed: int
    epoch: int
    number: int  # within the epoch
    batches: int
    batch: int
    group: int
    slices: tuple[Slice, ...]
    rivals: int = 0  # rows at the end of each batch, drawn one by one from
    stock: int = 0  # so many slices, the last

    def to_json(self) -> str:
        """Text for the trip through a Ray dataset."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Window":
        """Inverse of `to_json`."""
        tree: dict[str, Any] = json.loads(text)
        slices = tuple(Slice(**part) for part in tree.pop("slices"))
        return cls(**tree, slices=slices)


@dataclass(frozen=True)
class Order:
    """Which row stands where: arrays [batches, batch]."""

    slice: Ints  # index into the window's slices
    row: Ints  # row within that slice's row group
    offset: npt.NDArray[np.float64]  # in [0, 1): where the square is cut along the long side
    seeds: Ints  # [batches]: of the augmentation


def genera(index: pa.Table) -> list[str]:
    """The class list: the genera of the training split, sorted. A label is a place in it."""
    return sorted(set(index.filter(pc.equal(index["split"], "train"))["genus"].to_pylist()))


def epoch_plan(
    index: pa.Table,
    classes: Sequence[str],
    spec: Stream,
    group: int,
    seed: int,
    epoch: int,
    split: str = "train",
    rivals: int = 0,
    shape: tuple[int, int] = (1, 1),
) -> list[Window]:
    """List the windows of one epoch.

    Every row of the split is in at least one batch when `balance` is 0. What is needed to fill the last batch of the
    last window is taken from the beginning of the epoch; a genus with fewer rows than `group` fills its group with
    further views of its rows.

    With `rivals` the plan draws as Walker et al. 2022 drew triplets, all draws with replacement, for an objective that
    takes both rows of a pair as anchors and the rivals as negatives:

    * a row is in a pair once an epoch in expectation, not exactly once (an odd bag has a row too few or too many);
    * its mate is itself with probability 1 / (rows of the genus), else any other row of its *bag*. Bags were dealt at
      random: over the seeds of shard plans the mate is any row of the genus alike; under one plan it is always a row
      of the same `shard.bag`;
    * a rival is a random row of a random genus, all genera alike. Those of one window come from as many random bags as
      keep pace with the pairs, so anchors of one batch, and batches of one window, share negatives: a triplet has the
      distribution of the literal form, several at once are not independent.

    Args:
        index: rows of `schema.INDEX`, in any order.
        classes: the genera, as `genera` gives them; a genus outside it gets label -1.
        spec: batch and window sizes.
        group: rows of one genus that stand side by side; must divide `spec.batch`.
        seed: of the run.
        epoch: from 0.
        split: which split to read.
        rivals: rows at the end of each batch that are of any genus, all genera alike.
        shape: windows, and batches of each, that there are at least; see `run_plan`.

    Raises:
        ValueError: the split is empty, or `group` does not divide the batch less its rivals.
    """
    if spec.batch <= rivals:
        raise ValueError(f"stream.batch={spec.batch} leaves no row beside {rivals} rivals: raise it, or lower rivals")
    if (spec.batch - rivals) % group:
        beside = f" beside {rivals} rivals" if rivals else ""
        raise ValueError(
            f"stream.batch={spec.batch} cannot be cut into groups of {group} rows{beside}: choose a multiple"
        )
    bags = index.filter(pc.equal(index["split"], split)).sort_by([("file", "ascending"), ("row_group", "ascending")])
    if not bags.num_rows:
        raise ValueError(f"the shards hold no row of split {split!r}: look at the counts in their manifest.json")
    rows = bags["rows"].to_numpy()
    drawn, copies = _draw(rows, bags["genus"].to_pylist(), spec, np.random.default_rng([seed, epoch, 0]))
    table = bags.to_pylist()
    luck = np.random.default_rng([seed, epoch, 3])
    many = rows[drawn]
    groups = (many / group + luck.random(len(many))).astype(np.int64) if rivals else -(-many // group)
    if not groups.any():
        groups[:] = 1
    ends = np.cumsum(groups)
    total = int(ends[-1])
    a_batch = (spec.batch - rivals) // group
    windows = max(shape[0], _ceil(_ceil(len(drawn), spec.window), spec.align) * spec.align)
    batches = max(shape[1], _ceil(_ceil(total, a_batch), windows))
    label = {genus: place for place, genus in enumerate(classes)}
    kin = Counter[str]()
    for row in table if rivals else ():
        kin[row["genus"]] += row["rows"]
    for row in table:
        if row["rows"] == 1:  # a row alone in its bag is its own mate often enough for its whole genus
            kin[row["genus"]] = 0

    def cut(begin: int, end: int) -> Iterator[Slice]:
        """Slices of the groups from `begin` to `end` of the epoch's sequence, which repeats after `total`."""
        while begin < end:
            lap, at = divmod(begin, total)
            place = int(np.searchsorted(ends, at, side="right"))
            bag, first = int(drawn[place]), int(ends[place] - groups[place])
            stop = min(int(ends[place]), at + end - begin)
            yield part(bag, int(copies[place]) + 1000 * lap, at - first, stop - first)
            begin += stop - at

    def part(bag: int, copy: int, start: int, stop: int) -> Slice:
        row = table[bag]
        where = (row["file"], row["row_group"], row["rows"], label.get(row["genus"], -1))
        return Slice(bag, copy, *where, start, stop, kin[row["genus"]])

    step = batches * a_batch
    stock = _ceil(spec.window * rivals, spec.batch - rivals)
    chosen = any_genus([row["genus"] for row in table], rows, windows * stock, luck).reshape(windows, stock).tolist()

    def window(number: int) -> Window:
        slices = (*cut(number * step, (number + 1) * step), *(part(bag, 0, 0, 0) for bag in chosen[number]))
        return Window(seed, epoch, number, batches, spec.batch, group, slices, rivals, stock)

    return [window(number) for number in range(windows)]


def run_plan(
    index: pa.Table, classes: Sequence[str], spec: Stream, group: int, seed: int, epochs: int, rivals: int = 0
) -> list[Window]:
    """The windows of all epochs, of one shape: equally many an epoch, of equally many batches.

    Where bags or pairs are drawn anew each epoch their number differs by a few. Ranks that are in different epochs at
    one step, or at a run's end, must agree on how many steps a window has. Arguments as in `epoch_plan`.
    """

    def planned(shape: tuple[int, int]) -> list[list[Window]]:
        return [
            epoch_plan(index, classes, spec, group, seed, epoch, rivals=rivals, shape=shape) for epoch in range(epochs)
        ]

    found = planned((1, 1))
    windows = max(map(len, found))
    if any(len(each) != windows for each in found):
        found = planned((windows, 1))
    batches = max(each[0].batches for each in found)
    if any(each[0].batches != batches for each in found):
        found = planned((windows, batches))
    return [window for each in found for window in each]


def _ceil(amount: int, part: int) -> int:
    return -(-amount // part)


def _draw(rows: Ints, names: Sequence[str], spec: Stream, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Bags of an epoch in random order, and for each how often it was drawn before."""
    times = np.ones(len(rows), np.int64)
    if spec.balance:
        kinds, genus = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        share = np.bincount(genus, weights=rows, minlength=len(kinds))[genus] ** -spec.balance
        expected = share * (rows.sum() / (share * rows).sum())
        times = np.floor(expected + rng.random(len(rows))).astype(np.int64)
        if not times.any():
            times[:] = 1
    drawn = np.repeat(np.arange(len(rows)), times)
    copies = np.concatenate([np.arange(n) for n in times])
    order = rng.permutation(len(drawn))
    return drawn[order], copies[order]


def order(window: Window) -> Order:
    """Mix the rows of a window into its batches: a function of the window alone."""
    key = (window.seed, window.epoch)
    groups: list[npt.NDArray[np.int64]] = []
    for place, part in enumerate(window.slices[: len(window.slices) - window.stock]):
        rng = np.random.default_rng([*key, 1, part.bag, part.copy])
        mixed = rng.permutation(part.rows)
        many = -(-part.rows // window.group)
        filled = np.resize(mixed, many * window.group).reshape(many, window.group)
        if part.kin:  # with replacement: one row of the group stands for all with probability 1 / kin
            one = filled[np.arange(many), rng.integers(window.group, size=many)]
            filled = np.where(rng.random((many, 1)) * part.kin < 1, one[:, None], filled)
        filled = filled[part.start : part.stop]
        groups.append(np.stack([np.full_like(filled, place), filled], axis=-1))
    rng = np.random.default_rng([*key, 2, window.number])
    stacked = np.concatenate(groups)  # [groups, group, 2]
    mixed = stacked[rng.permutation(len(stacked))].reshape(window.batches, window.batch - window.rivals, 2)
    if window.rivals:
        first = len(window.slices) - window.stock
        sizes = np.array([part.rows for part in window.slices[first:]], np.int64)
        drawn = any_row(sizes, window.batches, window.rivals, rng) + np.array([first, 0])
        mixed = np.concatenate([mixed, drawn], axis=1)
    offset = rng.random((window.batches, window.batch))
    seeds = rng.integers(0, 2**62, window.batches)
    return Order(mixed[..., 0], mixed[..., 1], offset, seeds)


def fingerprint(*parts: object) -> str:
    """Short stable name of anything that JSON can say: sha256, 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
