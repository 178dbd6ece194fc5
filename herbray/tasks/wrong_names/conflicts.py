"""Gatherings whose sheets have different names: at most one of the names is right, because a gathering is one plant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.tasks.interface.embeddings import Floats, Indices

_RATE: Final = (1e-4, 0.5)  # limits of the rate at which single sheets get another name than their gathering


@dataclass(frozen=True, eq=False)
class Conflict:
    """A gathering under several names.

    Attributes:
        rows: [m] its named rows, ascending.
        names: [j] codes of its names, ascending.
        which: [m] place in `names` of the name of each row.
    """

    rows: Indices
    names: Indices
    which: Indices


def find_conflicts(names: Indices, units: Indices) -> list[Conflict]:
    """Find the gatherings under several names, in the order of their units.

    Args:
        names: [n] codes of names; -1 for none.
        units: [n] code of the gathering of each row.
    """
    named = np.flatnonzero(names >= 0)
    order = named[np.lexsort((named, units[named]))]
    starts = np.flatnonzero(np.r_[True, np.diff(units[order]) != 0]) if len(order) else np.empty(0, np.intp)
    several = (
        np.maximum.reduceat(names[order], starts) != np.minimum.reduceat(names[order], starts) if len(order) else []
    )
    ends = np.r_[starts[1:], len(order)]
    found = []
    for start, end in zip(starts[several], ends[several], strict=True) if len(order) else ():
        rows = order[start:end]
        found.append(Conflict(rows, *np.unique(names[rows], return_inverse=True)))
    return found


def estimate_sheet_rate(conflicts: Sequence[Conflict], sheets: int) -> float:
    """The share of sheets whose name is not that of most sheets of their gathering.

    Args:
        conflicts: all of them.
        sheets: number of named sheets in gatherings of several sheets.
    """
    minority = sum(len(each.rows) - int(np.bincount(each.which).max()) for each in conflicts)
    return float(np.clip(minority / max(1, sheets), *_RATE))


def weigh_names(conflict: Conflict, probability: Floats, frequency: Floats, sheet: float, gathering: float) -> Floats:
    """The probability [j] that each name of a gathering is the true one; the rest is that of any other name.

    The gathering gets its true name, or with the rate `gathering` another one by frequency; each sheet gets the name of
    its gathering, or with the rate `sheet` another one by frequency.

    Args:
        conflict: the gathering.
        probability: [j] of each name given the images; adds up to 1 at most.
        frequency: [j] of each name.
        sheet: rate.
        gathering: rate.
    """
    counts = np.bincount(conflict.which, minlength=len(conflict.names))
    drawn = float(np.prod((sheet * frequency) ** counts))  # all sheets got a name by chance
    copied = drawn * ((1.0 - sheet + sheet * frequency) / (sheet * frequency)) ** counts
    misnamed = float(frequency @ copied)
    likely = probability * ((1.0 - gathering) * copied + gathering * misnamed)
    rest = max(0.0, 1.0 - float(probability.sum())) * ((1.0 - gathering) * drawn + gathering * misnamed)
    weights: Floats = likely / max(float(likely.sum()) + rest, 1e-300)
    return weights
