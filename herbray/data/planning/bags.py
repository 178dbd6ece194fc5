"""The bags of an epoch: each once, or rare labels more often."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def draw_bags(rows: Ints, names: Sequence[str], balance: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw the bags of an epoch in random order.

    Args:
        rows: number of rows of each bag.
        names: the label of each bag.
        balance: see `Stream.balance` of the plan.
        rng: random generator.

    Returns:
        Int64 [drawn], indices of bags; and how often each was drawn before.
    """
    times = np.ones(len(rows), np.int64)
    if balance:
        kinds, name = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        share = np.bincount(name, weights=rows, minlength=len(kinds))[name] ** -balance
        expected = share * (rows.sum() / (share * rows).sum())
        times = np.floor(expected + rng.random(len(rows))).astype(np.int64)
        if not times.any():
            times[:] = 1
    bags = np.repeat(np.arange(len(rows)), times)
    copies = np.concatenate([np.arange(n) for n in times])
    order = rng.permutation(len(bags))
    return bags[order], copies[order]
