"""The plan is the dataset: which image goes into which shard, and which rows make which training batch.

Both plans are pure functions of a table and a seed. The *shard plan* needs the catalogue alone; the *epoch plan* needs
the shard index alone. No image is read, moved or shuffled to make them.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec
from herbray.data.draws import draws

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
    names = np.asarray(splits.to_pylist(), dtype=object)
    genera = np.asarray(catalogue["genus"].to_pylist(), dtype=object)
    ids = catalogue["specimen_id"].to_pylist()
    order = draws(seed, "bag", ids)
    files: list[ShardFile] = []
    for split in sorted(set(names) - {"unused"}):
        rows = np.flatnonzero(names == split)
        rank = np.unique(genera[rows].astype(str), return_inverse=True)[1]
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
    index: pa.Table, classes: Sequence[str], spec: Stream, group: int, seed: int, epoch: int, split: str = "train"
) -> list[Window]:
    """List the windows of one epoch.

    Every row of the split is in at least one batch when `balance` is 0. What is needed to fill the last batch of the
    last window is taken from the beginning of the epoch; a genus with fewer rows than `group` fills its group with
    further views of its rows.

    Args:
        index: rows of `schema.INDEX`, in any order.
        classes: the genera, as `genera` gives them; a genus outside it gets label -1.
        spec: batch and window sizes.
        group: rows of one genus that stand side by side; must divide `spec.batch`.
        seed: of the run.
        epoch: from 0.
        split: which split to read.

    Raises:
        ValueError: the split is empty, or `group` does not divide the batch.
    """
    if spec.batch % group:
        raise ValueError(f"stream.batch={spec.batch} cannot be cut into groups of {group} rows: choose a multiple")
    bags = index.filter(pc.equal(index["split"], split)).sort_by([("file", "ascending"), ("row_group", "ascending")])
    if not bags.num_rows:
        raise ValueError(f"the shards hold no row of split {split!r}: look at the counts in their manifest.json")
    rows = bags["rows"].to_numpy()
    drawn, copies = _draw(rows, bags["genus"].to_pylist(), spec, np.random.default_rng([seed, epoch, 0]))
    groups = -(-rows[drawn] // group)
    ends = np.cumsum(groups)
    total = int(ends[-1])
    a_batch = spec.batch // group
    windows = _ceil(_ceil(len(drawn), spec.window), spec.align) * spec.align
    batches = _ceil(_ceil(total, a_batch), windows)
    label = {genus: place for place, genus in enumerate(classes)}
    table = bags.to_pylist()

    def cut(begin: int, end: int) -> Iterator[Slice]:
        """Slices of the groups from `begin` to `end` of the epoch's sequence, which repeats after `total`."""
        while begin < end:
            lap, at = divmod(begin, total)
            place = int(np.searchsorted(ends, at, side="right"))
            bag, first = int(drawn[place]), int(ends[place] - groups[place])
            stop = min(int(ends[place]), at + end - begin)
            row = table[bag]
            where = (row["file"], row["row_group"], row["rows"], label.get(row["genus"], -1))
            yield Slice(bag, int(copies[place]) + 1000 * lap, *where, at - first, stop - first)
            begin += stop - at

    step = batches * a_batch
    return [
        Window(seed, epoch, i, batches, spec.batch, group, tuple(cut(i * step, (i + 1) * step))) for i in range(windows)
    ]


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
    for place, part in enumerate(window.slices):
        mixed = np.random.default_rng([*key, 1, part.bag, part.copy]).permutation(part.rows)
        many = -(-part.rows // window.group)
        filled = np.resize(mixed, many * window.group).reshape(many, window.group)[part.start : part.stop]
        groups.append(np.stack([np.full_like(filled, place), filled], axis=-1))
    rng = np.random.default_rng([*key, 2, window.number])
    stacked = np.concatenate(groups)  # [groups, group, 2]
    mixed = stacked[rng.permutation(len(stacked))].reshape(window.batches, window.batch, 2)
    offset = rng.random((window.batches, window.batch))
    seeds = rng.integers(0, 2**62, window.batches)
    return Order(mixed[..., 0], mixed[..., 1], offset, seeds)


def fingerprint(*parts: object) -> str:
    """Short stable name of anything that JSON can say: sha256, 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
