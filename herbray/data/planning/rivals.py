"""Rivals: rows of any label that a batch has in addition to its groups; all labels are equally likely.

With rivals, the epoch plan draws triplets as Walker et al. 2022 did, all with replacement, for an objective that uses
both rows of a pair as anchors and the rivals as negatives:

* a row is in one pair per epoch in expectation, not exactly (a bag of odd size has one row too few or too many);
* the mate of a row is the row itself with probability 1 / (rows of the label), else another row of its *bag*. Bags
  were filled at random: over the seeds of shard plans, every row of the label is equally likely to be the mate; under
  one shard plan, the mate is always from the same bag;
* a rival is a random row of a random label, all labels equally likely. The rivals of one window come from a limited
  number of random bags, in proportion to the number of pairs, so anchors of one batch, and batches of one window, share
  negatives: each triplet has the distribution of the paper's, but triplets are not independent.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def draw_rival_bags(names: Ints, rows: Ints, many: int, rng: np.random.Generator) -> Ints:
    """Draw bags with replacement: first a label, all equally likely, then the bag of a random row of the label.

    Args:
        names: the label of each bag, as a number.
        rows: number of rows of each bag.
        many: number of bags to draw.
        rng: random generator.

    Returns:
        Int64 [many], indices of bags.
    """
    kinds, kind = np.unique(names, return_inverse=True)
    by_kind = np.argsort(kind, kind="stable")
    ends = np.cumsum(rows[by_kind])  # of bags in the order of labels
    sizes = np.bincount(kind, weights=rows, minlength=len(kinds)).astype(np.int64)
    first = np.cumsum(sizes) - sizes
    drawn = rng.integers(len(kinds), size=many)
    return by_kind[np.searchsorted(ends, first[drawn] + rng.integers(sizes[drawn]), side="right")]


def draw_rival_rows(rows: Ints, batches: int, rivals: int, rng: np.random.Generator) -> Ints:
    """Draw for every batch some of a window's rival bags, all equally likely, and a row from each.

    Args:
        rows: number of rows of each rival bag.
        batches: number of batches of the window.
        rivals: number of rivals per batch.
        rng: random generator.

    Returns:
        Int64 [batches, rivals, 2], index of the bag and of the row in it.
    """
    bag = rng.integers(len(rows), size=(batches, rivals))
    return np.stack([bag, rng.integers(rows[bag])], axis=-1)
