"""How many of the first names of a list are wrong, estimated without knowing which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.tasks.wrong_names.doubts import NameDoubts

_DRAWS: Final = 200


@dataclass(frozen=True)
class Expected:
    """An estimated number of wrong names.

    Attributes:
        first: length of the head of the list.
        value: expected number of wrong names in it.
        low: lower end of the interval of the number.
        high: upper end.
    """

    first: int
    value: float
    low: int
    high: int


def estimate_wrong(listed: NameDoubts, first: Sequence[int], seed: int, level: float = 0.95) -> list[Expected]:
    """Estimate the number of wrong names among the first n, for each n that is not longer than the list.

    The interval covers what is uncertain about the rates (gatherings are resampled, and the rates fitted again), and
    about the names at given probabilities; sheets of a gathering under one name are wrong together. It does not cover
    that the model may be wrong, for example if names are confused just where images look alike.

    Args:
        listed: in the order of the list.
        first: lengths.
        seed: of the draws.
        level: of the interval.
    """
    lengths = [n for n in first if n <= len(listed.rows)]
    if not lengths:
        return []
    generator = np.random.default_rng(seed)
    head = slice(0, max(lengths))
    group, conflict = listed.group[head], listed.wrong[head]
    many = len(listed.groups.several)
    numbers = np.empty((_DRAWS, len(lengths)), np.int64)
    for draw in range(_DRAWS):
        weights = np.bincount(generator.integers(many, size=many), minlength=many).astype(np.float64)
        chance = listed.groups.find_wrong(weights) if many else np.empty(0)
        is_wrong = generator.random(many) < chance
        alone = generator.random(len(group)) < conflict
        wrong = np.where(group >= 0, is_wrong[group] if many else False, alone)
        numbers[draw] = np.cumsum(wrong)[np.array(lengths) - 1]
    low, high = np.percentile(numbers, (50 * (1 - level), 50 * (1 + level)), axis=0)
    values = np.cumsum(listed.wrong)[np.array(lengths) - 1]
    return [
        Expected(n, float(value), int(np.floor(a)), int(np.ceil(b)))
        for n, value, a, b in zip(lengths, values, low, high, strict=True)
    ]
