"""An experiment on settings, read off the comparisons: what one training of an objective has over another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from herbray.flow.material import Train


def differences(comparisons: pa.Table, trainings: Sequence[Train]) -> Iterator[str]:
    """A sentence for each metric: an objective's first training less each other one from the same start weights.

    Args:
        comparisons: `schema.COMPARISON`, of paired specimens.
        trainings: of the study, in the order of its settings. How the others compare among themselves stands in the
            table of comparisons.
    """
    objectives = {each.called: each.objective.name for each in trainings}
    first = {objective: name for name, objective in reversed(objectives.items())}
    for row in comparisons.to_pylist():
        names = row["model_a"], row["model_b"]
        if not set(names) <= objectives.keys() or _bare(row["init_a"]) != _bare(row["init_b"]):
            continue
        if objectives[names[0]] == objectives[names[1]] and first[objectives[names[0]]] in names:
            yield _told(row, names[0] in first.values())


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
