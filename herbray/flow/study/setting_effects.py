"""The effects of settings: how much better one training of an objective is than another, from the comparisons."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from herbray.flow.embedding_folder import read_note
from herbray.report.names import Kind, name_kinds


def describe_differences(comparisons: pa.Table, trained: Sequence[Path]) -> Iterator[str]:
    """One sentence per metric: an objective's first training minus each other one from the same start weights.

    The other trainings are not compared with each other here; the table of comparisons holds those differences too.

    Args:
        comparisons: `schema.COMPARISON`, paired on the same specimens.
        trained: embeddings folders of the study's trainings, in the order of the settings.
    """
    notes = [read_note(folder) for folder in trained]
    first: dict[tuple[str, str], str] = {}
    for note in notes:
        first.setdefault((note["objective"], note["init"]), note["kind"])
    names = _name_kinds(notes)
    for row in comparisons.to_pylist():
        origin = row["objective_a"], row["init_a"]
        kinds = row["kind_a"], row["kind_b"]
        if origin == (row["objective_b"], row["init_b"]) and first.get(origin) in kinds and names.keys() >= set(kinds):
            yield _describe_difference(row, names, kinds[0] == first[origin])


def _name_kinds(notes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A name for each kind, without the start weights, which the sentence names separately."""
    settings = {note["kind"]: note["settings"] for note in notes}
    names: dict[str, str] = {}
    for init in {note["init"] for note in notes}:
        kinds = {Kind.from_row(note) for note in notes if note["init"] == init}
        names |= name_kinds(kinds, settings)
    return names


def _describe_difference(row: Mapping[str, Any], names: Mapping[str, str], a_first: bool) -> str:
    """E.g. "linear minus logit from random, identify genus on random, accuracy: +1.2 (-0.4 to 2.9), undecided"."""
    first, second = ("a", "b") if a_first else ("b", "a")
    name = {end: names[row[f"kind_{end}"]] for end in "ab"}
    sign = 100.0 if a_first else -100.0
    low, high = sorted((sign * row["low"], sign * row["high"]))
    better = f"{name[row['better']]} is better" if row["better"] in name else "undecided"
    return (
        f"{name[first]} minus {name[second]} from {row['init_a']}, {row['task']} {row['level']} on "
        f"{row['split']}, {row['metric']}: {sign * row['difference']:+.1f} ({low:.1f} to {high:.1f}) points, "
        f"{better}; {row[f'seeds_{first}']} and {row[f'seeds_{second}']} seeds"
    )
