"""An experiment on settings, read off the comparisons: what one training of an objective has over another."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from herbray.flow.embedding.folder import read_note
from herbray.report.names import Kind, name_kinds


def differences(comparisons: pa.Table, trained: Sequence[Path]) -> Iterator[str]:
    """A sentence for each metric: an objective's first training less each other one from the same start weights.

    Args:
        comparisons: `schema.COMPARISON`, of paired specimens.
        trained: embeddings folders of the study's trainings, in the order of its settings. How the others compare among
            themselves stands in the table of comparisons.
    """
    notes = [read_note(folder) for folder in trained]
    first: dict[tuple[str, str], str] = {}
    for note in notes:
        first.setdefault((note["objective"], note["init"]), note["kind"])
    names = _names(notes)
    for row in comparisons.to_pylist():
        place = row["objective_a"], row["init_a"]
        kinds = row["kind_a"], row["kind_b"]
        if place == (row["objective_b"], row["init_b"]) and first.get(place) in kinds and names.keys() >= set(kinds):
            yield _told(row, names, kinds[0] == first[place])


def _names(notes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A name for each kind; the start weights, which a sentence tells itself, are no part of it."""
    settings = {note["kind"]: note["settings"] for note in notes}
    names: dict[str, str] = {}
    for init in {note["init"] for note in notes}:
        kinds = {Kind.of(note) for note in notes if note["init"] == init}
        names |= name_kinds(kinds, settings)
    return names


def _told(row: Mapping[str, Any], names: Mapping[str, str], a_first: bool) -> str:
    """E.g. "linear less logit from random, identify genus on random, accuracy: +1.2 (-0.4 to 2.9), undecided"."""
    first, second = ("a", "b") if a_first else ("b", "a")
    name = {end: names[row[f"kind_{end}"]] for end in "ab"}
    sign = 100.0 if a_first else -100.0
    low, high = sorted((sign * row["low"], sign * row["high"]))
    better = f"{name[row['better']]} is better" if row["better"] in name else "undecided"
    return (
        f"{name[first]} less {name[second]} from {row['init_a']}, {row['task']} {row['level']} on "
        f"{row['split']}, {row['metric']}: {sign * row['difference']:+.1f} ({low:.1f} to {high:.1f}) points, "
        f"{better}; {row[f'seeds_{first}']} and {row[f'seeds_{second}']} seeds"
    )
