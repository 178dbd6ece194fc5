"""Reliability: how often names of a given probability are what they are said to be."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.probes.calibration import calibration_error
from herbray.tasks.interface.embeddings import Floats, Indices, Mask
from herbray.tasks.methods.confident import ProbabilityBlocks

_FEWEST: Final = 5  # rows of a bin that is shown


@dataclass(frozen=True, eq=False)
class Reliability:
    """Points of a reliability curve.

    Attributes:
        said: [b] mean probability.
        found: [b] share that came true.
        rows: [b] number of sheets.
        error: the expected calibration error, from finer bins.
    """

    said: Floats
    found: Floats
    rows: Indices
    error: float


def measure_reliability(probability: Floats, hit: Mask, bins: int = 10) -> Reliability:
    """The reliability curve of probabilities [n] of something that came true or not [n].

    The bins are of equal width, because most names are almost surely right; those with few rows are left out.
    """
    place = np.minimum((probability * bins).astype(np.intp), bins - 1)
    parts = [part for part in (np.flatnonzero(place == each) for each in range(bins)) if len(part) >= _FEWEST]
    said, found = (np.array([values[part].mean() for part in parts]) for values in (probability, hit))
    return Reliability(said, found, np.array([len(part) for part in parts]), calibration_error(probability, hit))


def read_first_names(given: Indices, probabilities: ProbabilityBlocks) -> tuple[Floats, Mask]:
    """The probability [n] of the most probable name of each row, and whether it is the given one."""
    probability, hit = np.empty(len(given)), np.zeros(len(given), dtype=bool)
    for rows, block in probabilities.blocks():
        first = block.argmax(axis=1)
        probability[rows], hit[rows] = block.max(axis=1), first == given[rows]
    return probability, hit
