"""A window: the rows of a few dozen bags, mixed and cut into batches."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from herbray.data.planning.herbaria import spread_over_herbaria
from herbray.data.planning.rivals import draw_rival_rows

Ints = npt.NDArray[np.int64]


class Slice(NamedTuple):
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


@dataclass(frozen=True)
class RowOrder:
    """The source row of each row of a window's batches: arrays [batches, batch]."""

    slice: Ints  # index into the window's slices
    row: Ints  # row within that slice's row group
    offset: npt.NDArray[np.float64]  # in [0, 1): position of the square along the long side
    seeds: Ints  # [batches]: seeds of the augmentation


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
    count = -(-part.rows // window.group)
    if part.herbaria:
        rows = spread_over_herbaria(mixed, part.herbaria, (count, window.group), window.evenness, rng)
    else:
        rows = np.resize(mixed, count * window.group).reshape(count, window.group)
    if part.self_pair_every:  # with replacement: one row fills its group with probability 1 / self_pair_every
        one = rows[np.arange(count), rng.integers(window.group, size=count)]
        rows = np.where(rng.random((count, 1)) * part.self_pair_every < 1, one[:, None], rows)
    rows = rows[part.start : part.stop]
    return np.stack([np.full_like(rows, position), rows], axis=-1)
