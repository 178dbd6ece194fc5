"""The epoch plan, which is the dataset: assigns rows of the shards to training batches.

A pure function of the shard index and a seed; no image is read, moved or shuffled. A window is made when it is asked
for, so a plan takes the memory of its bags, whatever the number of epochs. `herbray.data.planning.shard_plan` plans the
shards themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec
from herbray.data.planning.bags import Bags, DrawnBags, draw_groups, make_slices
from herbray.data.planning.rivals import draw_rival_bags
from herbray.data.planning.window import Window

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


def list_classes(index: pa.Table) -> list[str]:
    """List the classes: the labels of the training split, sorted. A label is an index into the list."""
    return sorted(pc.unique(index.filter(pc.equal(index["split"], "train"))["label"]).to_pylist())


class Windows(Sequence[Window]):
    """The windows of consecutive epochs, or some of them, in order; each is made when it is asked for.

    A slice is a sequence of the same kind. All epochs have equally many windows, and all windows equally many batches.
    Two threads may iterate at the same time.
    """

    def __init__(self, run: "_Run", numbers: range) -> None:
        """Make no window yet; `numbers` are counted from epoch 0."""
        self._run, self._numbers = run, numbers
        self._latest: tuple[int, _Epoch] | None = None

    @property
    def per_epoch(self) -> int:
        """Windows in an epoch of the run."""
        return self._run.windows

    @property
    def batches(self) -> int:
        """Batches in each window."""
        return self._run.batches

    @property
    def files(self) -> list[str]:
        """The shard files of the split."""
        return self._run.bags.files

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> "Windows": ...

    def __getitem__(self, index: int | slice) -> "Window | Windows":
        """Make a window; or choose some of them, which makes none."""
        if isinstance(index, slice):
            return Windows(self._run, self._numbers[index])
        epoch, number = divmod(self._numbers[index], self._run.windows)
        latest = self._latest
        if latest is None or latest[0] != epoch:
            self._latest = latest = epoch, self._run.draw_epoch(epoch)
        return latest[1].make_window(number)

    def __iter__(self) -> Iterator[Window]:
        """Make one window after the other; the bags of an epoch are drawn at its first window."""
        drawn: tuple[int, _Epoch] | None = None
        for place in self._numbers:
            epoch, number = divmod(place, self._run.windows)
            if drawn is None or drawn[0] != epoch:
                drawn = epoch, self._run.draw_epoch(epoch)
            yield drawn[1].make_window(number)


def iter_files(windows: Sequence[Window]) -> Iterator[str]:
    """Yield each shard file that the windows read once, in the order of first use."""
    seen: set[str] = set()
    most = len(windows.files) if isinstance(windows, Windows) else None
    for window in windows:
        for part in window.slices:
            if part.file not in seen:
                seen.add(part.file)
                yield part.file
        if len(seen) == most:
            return


def plan_epoch(
    index: pa.Table,
    classes: Sequence[str],
    spec: Stream,
    group: int,
    seed: int,
    epoch: int,
    split: str = "train",
    rivals: int = 0,
) -> Windows:
    """Plan the windows of one epoch.

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

    Raises:
        ValueError: the split is empty, or `group` does not divide the batch without its rivals.
    """
    return _plan(index, classes, spec, group, seed, range(epoch, epoch + 1), split, rivals)


def plan_run(
    index: pa.Table, classes: Sequence[str], spec: Stream, group: int, seed: int, epochs: int, rivals: int = 0
) -> Windows:
    """Plan the windows of all epochs, with equally many windows per epoch and batches per window.

    If bags or pairs are drawn again for each epoch, their number varies slightly. Ranks that are in different epochs at
    the same step must agree on the number of steps of a window. For the arguments see `plan_epoch`.
    """
    return _plan(index, classes, spec, group, seed, range(epochs), "train", rivals)


def _plan(
    index: pa.Table,
    classes: Sequence[str],
    spec: Stream,
    group: int,
    seed: int,
    epochs: range,
    split: str,
    rivals: int,
) -> Windows:
    _check_batch(spec.batch, group, rivals)
    bags = Bags.from_index(index, classes, split, spec.herbaria > 0)
    run = _Run(bags, bags.count_self_pairs() if rivals else None, spec, group, seed, rivals, 1, 1)
    shaped = run.fit(epochs)
    return Windows(shaped, range(epochs.start * shaped.windows, epochs.stop * shaped.windows))


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
class _Run:
    """What the windows of all epochs follow from; for the settings see `plan_epoch`."""

    bags: Bags
    self_pairs: Ints | None  # see `make_slices`
    spec: Stream
    group: int
    seed: int
    rivals: int
    windows: int  # per epoch
    batches: int  # per window

    @property
    def groups_per_batch(self) -> int:
        return (self.spec.batch - self.rivals) // self.group

    @property
    def rival_slices(self) -> int:
        return _divide_up(self.spec.window * self.rivals, self.spec.batch - self.rivals)

    def fit(self, epochs: range) -> "_Run":
        """The same with the windows and batches that the largest of the epochs needs."""
        varies = self.spec.balance > 0 or self.rivals > 0
        sizes = [self._measure(epoch) for epoch in (epochs if varies else epochs[:1])]
        windows = max(
            _divide_up(_divide_up(bags, self.spec.window), self.spec.align) * self.spec.align for bags, _ in sizes
        )
        batches = max(_divide_up(_divide_up(groups, self.groups_per_batch), windows) for _, groups in sizes)
        return replace(self, windows=windows, batches=batches)

    def _measure(self, epoch: int) -> tuple[int, int]:
        """Number of drawn bags, and of their groups."""
        drawn, _ = self._draw_groups(epoch)
        return len(drawn.bags), int(drawn.ends[-1])

    def _draw_groups(self, epoch: int) -> tuple[DrawnBags, np.random.Generator]:
        rng = np.random.default_rng([self.seed, epoch, 3])
        key = self.seed, epoch
        return draw_groups(self.bags, self.group, self.spec.balance, key, rng if self.rivals else None), rng

    def draw_epoch(self, epoch: int) -> "_Epoch":
        drawn, rng = self._draw_groups(epoch)
        many = self.windows * self.rival_slices
        rivals = draw_rival_bags(self.bags.name, self.bags.rows, many, rng) if many else np.empty(0, np.int64)
        return _Epoch(self, epoch, drawn, rivals)


@dataclass(frozen=True, eq=False)
class _Epoch:
    """The draws of one epoch."""

    run: _Run
    epoch: int
    drawn: DrawnBags
    rivals: Ints  # bags, window after window

    def make_window(self, number: int) -> Window:
        run, spec = self.run, self.run.spec
        step = run.batches * run.groups_per_batch
        own = (
            part
            for cut in self.drawn.cut(number * step, (number + 1) * step)
            for part in make_slices(run.bags, run.self_pairs, *cut)
        )
        rivals = self.rivals[number * run.rival_slices : (number + 1) * run.rival_slices]
        none = np.zeros_like(rivals)
        slices = (*own, *make_slices(run.bags, run.self_pairs, rivals, none, none, none))
        shape = run.batches, spec.batch, run.group
        return Window(run.seed, self.epoch, number, *shape, slices, run.rivals, run.rival_slices, spec.herbaria)


def _divide_up(amount: int, part: int) -> int:
    """Divide and round up."""
    return -(-amount // part)
