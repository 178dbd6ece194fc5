"""Reliability: how often names of a given probability are what they are said to be."""

from dataclasses import dataclass

import numpy as np

from herbray.probes.calibration import calibration_error
from herbray.tasks.interface.embeddings import Floats, Indices, Mask
from herbray.tasks.methods.confident import ProbabilityBlocks


@dataclass(frozen=True, eq=False)
class Reliability:
    """Points of a reliability curve, each of about the same number of sheets.

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
    """The reliability curve of probabilities [n] of something that came true or not [n]."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    said, found = (np.array([values[part].mean() for part in parts]) for values in (probability, hit))
    return Reliability(said, found, np.array([len(part) for part in parts]), calibration_error(probability, hit))


def read_first_names(given: Indices, probabilities: ProbabilityBlocks) -> tuple[Floats, Mask]:
    """The probability [n] of the most probable name of each row, and whether it is the given one."""
    probability, hit = np.empty(len(given)), np.zeros(len(given), dtype=bool)
    for rows, block in probabilities.blocks():
        first = block.argmax(axis=1)
        probability[rows], hit[rows] = block.max(axis=1), first == given[rows]
    return probability, hit
