"""The epoch plan, which is the dataset: assigns rows of the shards to training batches.

A pure function of the shard index and a seed; no image is read, moved or shuffled. `herbray.data.planning.shard_plan`
plans the shards themselves.
"""

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
from herbray.data.planning.bags import draw_bags
from herbray.data.planning.herbaria import COLUMN, spread_over_herbaria
from herbray.data.planning.rivals import draw_rival_bags, draw_rival_rows

Ints = npt.NDArray[np.int64]


class Stream(Spec):
    """How rows are arranged into batches."""

    batch: int = Field(64, ge=1, description="rows per batch on each rank, before views")
    window: int = Field(48, ge=1, description="bags per window; rows are mixed within a window")
    align: int = Field(
        4,
        ge=1,
        description="windows per epoch are a multiple of this, to divide evenly among this number of ranks",
    )
    balance: float = Field(
        0.0, ge=0.0, le=1.0, description="0: each label in proportion to its specimens; 1: all labels equally often"
    )
    herbaria: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="0: the herbaria of a label in proportion to their sheets; 1: all herbaria of a bag equally often. "
        "Above 0, the rows of a group are of different herbaria where possible",
    )


@dataclass(frozen=True)
class Slice:
    """Groups `start` to `stop` of one bag, in the order of the bag in this epoch."""

    bag: int  # position in the sorted index
    copy: int  # how often the bag was drawn before in this epoch; each copy has another order
    file: str
    row_group: int
    rows: int
    label: int
    start: int
    stop: int
    self_pair_every: int = 0  # a row is its own mate with probability 1 / self_pair_every; 0: never
    herbaria: tuple[int, ...] = ()  # the herbarium of each row of the bag; empty: does not count


@dataclass(frozen=True)
class Window:
    """The unit of work and of resumption: exactly `batches` batches, made only of the rows of its slices."""

    seed: int
    epoch: int
    number: int  # within the epoch
    batches: int
    batch: int
    group: int
    slices: tuple[Slice, ...]
    rivals: int = 0  # rows at the end of each batch, drawn separately from the last slices
    rival_slices: int = 0  # number of those slices
    evenness: float = 0.0  # of the herbaria of a bag, see `Stream.herbaria`

    def to_json(self) -> str:
        """Serialise the window for a Ray dataset."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Window":
        """Parse the result of `to_json`."""
        tree: dict[str, Any] = json.loads(text)
        slices = tuple(Slice(**part | {"herbaria": tuple(part["herbaria"])}) for part in tree.pop("slices"))
        return cls(**tree, slices=slices)


@dataclass(frozen=True)
class RowOrder:
    """The source row of each row of a window's batches: arrays [batches, batch]."""

    slice: Ints  # index into the window's slices
    row: Ints  # row within that slice's row group
    offset: npt.NDArray[np.float64]  # in [0, 1): position of the square along the long side
    seeds: Ints  # [batches]: seeds of the augmentation


def list_classes(index: pa.Table) -> list[str]:
    """List the classes: the labels of the training split, sorted. A label is an index into the list."""
    return sorted(set(index.filter(pc.equal(index["split"], "train"))["label"].to_pylist()))


def plan_epoch(
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

    If `balance` and `herbaria` are 0, every row of the split is in at least one batch. The last batch of the last
    window is filled with rows from the beginning of the epoch; a label with fewer rows than `group` fills its group
    with repeated rows, which get further views. For `rivals` see `herbray.data.planning.rivals`, for `herbaria`
    `herbray.data.planning.herbaria`.

    Args:
        index: rows of `schema.INDEX`, in any order; with the column `herbaria` if `spec.herbaria` is not 0.
        classes: the labels, from `list_classes`; other names get label -1.
        spec: batch and window sizes.
        group: adjacent rows of one label; must divide `spec.batch` without its rivals.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        split: split to read.
        rivals: rows of any label at the end of each batch; all labels are equally likely.
        shape: minimum number of windows, and of batches per window; see `plan_run`.

    Raises:
        ValueError: the split is empty, or `group` does not divide the batch without its rivals.
    """
    _check_batch(spec.batch, group, rivals)
    bags = index.filter(pc.equal(index["split"], split)).sort_by([("file", "ascending"), ("row_group", "ascending")])
    if not bags.num_rows:
        raise ValueError(f"the shards contain no row of split {split!r}: check the counts in their manifest.json")
    rng = np.random.default_rng([seed, epoch, 3])
    sequence = _draw_sequence(bags, classes, spec, group, (seed, epoch), rng if rivals else None)
    groups_per_batch = (spec.batch - rivals) // group
    windows = max(shape[0], _divide_up(_divide_up(len(sequence.bags), spec.window), spec.align) * spec.align)
    batches = max(shape[1], _divide_up(_divide_up(int(sequence.ends[-1]), groups_per_batch), windows))
    step = batches * groups_per_batch
    rival_slices = _divide_up(spec.window * rivals, spec.batch - rivals)
    rival_bags = draw_rival_bags(bags["label"].to_pylist(), bags["rows"].to_numpy(), windows * rival_slices, rng)

    def make_window(number: int) -> Window:
        chosen = rival_bags[number * rival_slices : (number + 1) * rival_slices].tolist()
        slices = (
            *sequence.cut(number * step, (number + 1) * step),
            *(sequence.make_slice(bag, 0, 0, 0) for bag in chosen),
        )
        return Window(seed, epoch, number, batches, spec.batch, group, slices, rivals, rival_slices, spec.herbaria)

    return [make_window(number) for number in range(windows)]


def _check_batch(batch: int, group: int, rivals: int) -> None:
    if batch <= rivals:
        raise ValueError(
            f"stream.batch={batch} leaves no row in addition to {rivals} rivals: raise stream.batch, or lower "
            "objective.rivals"
        )
    if (batch - rivals) % group:
        plus = f" plus {rivals} rivals" if rivals else ""
        raise ValueError(
            f"stream.batch={batch} cannot be cut into groups of {group} rows{plus}: choose a multiple of {group}{plus}"
        )


@dataclass(frozen=True, eq=False)
class _Sequence:
    """The bags of one epoch in the order in which they were drawn, cut into groups of rows."""

    table: list[dict[str, Any]]  # the bags of the split: rows of the index
    labels: list[int]  # of the bags of the split
    herbaria: list[tuple[int, ...]]  # of the rows of each bag of the split
    self_pair_every: Counter[str]  # by label, see `Slice`
    bags: Ints  # drawn bags, positions in `table`
    copies: Ints  # of the drawn bags: how often each was drawn before
    groups: Ints  # of the drawn bags: number of groups
    ends: Ints  # of the drawn bags: cumulative number of groups

    def cut(self, begin: int, end: int) -> Iterator[Slice]:
        """Return slices that hold groups `begin` to `end` of the sequence, which repeats from its start."""
        while begin < end:
            lap, first = divmod(begin, int(self.ends[-1]))
            position = int(np.searchsorted(self.ends, first, side="right"))
            start, stop = int(self.ends[position] - self.groups[position]), int(self.ends[position])
            last = min(stop, first + end - begin)
            copy = int(self.copies[position]) + 1000 * lap
            yield self.make_slice(int(self.bags[position]), copy, first - start, last - start)
            begin += last - first

    def make_slice(self, bag: int, copy: int, start: int, stop: int) -> Slice:
        row = self.table[bag]
        pairing = self.self_pair_every[row["label"]]
        place = row["file"], row["row_group"], row["rows"]
        return Slice(bag, copy, *place, self.labels[bag], start, stop, pairing, self.herbaria[bag])


def _draw_sequence(
    bags: pa.Table,
    classes: Sequence[str],
    spec: Stream,
    group: int,
    key: tuple[int, int],
    rng: np.random.Generator | None,
) -> _Sequence:
    """Draw the bags of an epoch; with rivals, `rng` rounds the number of groups of each bag at random."""
    rows, names = bags["rows"].to_numpy(), bags["label"].to_pylist()
    drawn, copies = draw_bags(rows, names, spec.balance, np.random.default_rng([*key, 0]))
    sizes = rows[drawn]
    groups = -(-sizes // group) if rng is None else (sizes / group + rng.random(len(sizes))).astype(np.int64)
    if not groups.any():
        groups[:] = 1
    self_pair_every = Counter[str]()
    for name, count in zip(names, rows.tolist(), strict=True) if rng is not None else ():
        self_pair_every[name] += count
    for name, count in zip(names, rows.tolist(), strict=True):
        if count == 1:  # the only row of a bag is always its own mate, often enough for its whole label
            self_pair_every[name] = 0
    label_of = {name: label for label, name in enumerate(classes)}
    labels = [label_of.get(name, -1) for name in names]
    herbaria: list[tuple[int, ...]] = [()] * len(labels)
    if spec.herbaria:
        herbaria = [tuple(bag) for bag in bags[COLUMN].to_pylist()]
    return _Sequence(bags.to_pylist(), labels, herbaria, self_pair_every, drawn, copies, groups, np.cumsum(groups))


def plan_run(
    index: pa.Table, classes: Sequence[str], spec: Stream, group: int, seed: int, epochs: int, rivals: int = 0
) -> list[Window]:
    """List the windows of all epochs, with equally many windows per epoch and batches per window.

    If bags or pairs are drawn again for each epoch, their number varies slightly. Ranks that are in different epochs at
    the same step must agree on the number of steps of a window. For the arguments see `plan_epoch`.
    """

    def plan_all(shape: tuple[int, int]) -> list[list[Window]]:
        return [
            plan_epoch(index, classes, spec, group, seed, epoch, rivals=rivals, shape=shape) for epoch in range(epochs)
        ]

    plans = plan_all((1, 1))
    windows = max(map(len, plans))
    if any(len(each) != windows for each in plans):
        plans = plan_all((windows, 1))
    batches = max(each[0].batches for each in plans)
    if any(each[0].batches != batches for each in plans):
        plans = plan_all((windows, batches))
    return [window for each in plans for window in each]


def _divide_up(amount: int, part: int) -> int:
    """Divide and round up."""
    return -(-amount // part)


def order_rows(window: Window) -> RowOrder:
    """Arrange the rows of a window into its batches; depends on the window only."""
    own = len(window.slices) - window.rival_slices
    groups = [_order_groups(window, position) for position in range(own)]
    rng = np.random.default_rng([window.seed, window.epoch, 2, window.number])
    stacked = np.concatenate(groups)  # [groups, group, 2]
    mixed = stacked[rng.permutation(len(stacked))].reshape(window.batches, window.batch - window.rivals, 2)
    if window.rivals:
        sizes = np.array([part.rows for part in window.slices[own:]], np.int64)
        rivals = draw_rival_rows(sizes, window.batches, window.rivals, rng) + np.array([own, 0])
        mixed = np.concatenate([mixed, rivals], axis=1)
    offset = rng.random((window.batches, window.batch))
    seeds = rng.integers(0, 2**62, window.batches)
    return RowOrder(mixed[..., 0], mixed[..., 1], offset, seeds)


def _order_groups(window: Window, position: int) -> Ints:
    """Arrange the rows of one slice into groups: slice and row, [groups, group, 2]."""
    part = window.slices[position]
    rng = np.random.default_rng([window.seed, window.epoch, 1, part.bag, part.copy])
    mixed = rng.permutation(part.rows)
    count = _divide_up(part.rows, window.group)
    if part.herbaria:
        rows = spread_over_herbaria(mixed, part.herbaria, (count, window.group), window.evenness, rng)
    else:
        rows = np.resize(mixed, count * window.group).reshape(count, window.group)
    if part.self_pair_every:  # with replacement: one row fills its group with probability 1 / self_pair_every
        one = rows[np.arange(count), rng.integers(window.group, size=count)]
        rows = np.where(rng.random((count, 1)) * part.self_pair_every < 1, one[:, None], rows)
    rows = rows[part.start : part.stop]
    return np.stack([np.full_like(rows, position), rows], axis=-1)
