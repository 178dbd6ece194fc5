"""An experiment on settings, read off the comparisons: what one training of an objective has over another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from herbray.flow.material import Train


def differences(comparisons: pa.Table, trainings: Sequence[Train]) -> Iterator[str]:
    """A sentence for each metric and each two trainings of one objective, from the same start weights.

    Args:
        comparisons: `schema.COMPARISON`, of paired specimens.
        trainings: of the study, in the order of its settings: the first of two is the one that the sign is for.
    """
    objectives = {each.called: each.objective.name for each in trainings}
    order = list(objectives)
    for row in comparisons.to_pylist():
        names = row["model_a"], row["model_b"]
        if not set(names) <= objectives.keys() or _bare(row["init_a"]) != _bare(row["init_b"]):
            continue
        if objectives[names[0]] == objectives[names[1]]:
            yield _told(row, order.index(names[0]) < order.index(names[1]))


def _bare(init: str) -> str:
    """Start weights without their stem (`encoder.start_name`), which may be what the experiment is on."""
    return init.partition(" (")[0]


def _told(row: Mapping[str, Any], a_first: bool) -> str:
    """E.g. "linear less logit from random, identify genus on random, accuracy: +1.2 (-0.4 to 2.9), undecided"."""
    first, second = ("a", "b") if a_first else ("b", "a")
    sign = 100.0 if a_first else -100.0
    low, high = sorted((sign * row["low"], sign * row["high"]))
    better = {first: f"{row[f'model_{first}']} is better", second: f"{row[f'model_{second}']} is better"}
    return (
        f"{row[f'model_{first}']} less {row[f'model_{second}']} from {row['init_a']}, {row['task']} {row['level']} on "
        f"{row['split']}, {row['metric']}: {sign * row['difference']:+.1f} ({low:.1f} to {high:.1f}) points, "
        f"{better.get(row['better'], 'undecided')}; {row[f'seeds_{first}']} and {row[f'seeds_{second}']} seeds"
    )
