"""Labels after review: sheets that teach an encoder are left out or corrected if reviewers judged their name wrong.

Only the splits `train` and `validation` change. The others keep the names that they are filed under, so that encoders
that learned with and without verdicts are tested on the same sheets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.labels import ALL, Labels, list_lineages, read_labels
from herbray.schema import RANKS
from herbray.verdicts.files import read_verdicts
from herbray.verdicts.judgements import Judgement, judge, match_names

TAUGHT: Final = ("train", "validation")
"""The splits that an encoder learns from, or is chosen by."""


@dataclass(frozen=True, eq=False)
class JudgedSpecimens:
    """Specimens after review.

    Attributes:
        table: the specimens, some with other names.
        splits: the split of each; `unused` for those that are left out.
        left_out: number of specimens that are left out.
        corrected: number of specimens with another name.
    """

    table: pa.Table
    splits: pa.Array
    left_out: int = 0
    corrected: int = 0


def apply_verdicts(table: pa.Table, splits: pa.Array, labels: Labels) -> JudgedSpecimens:
    """Leave out, or correct, the specimens whose label was judged wrong and on which no reviewer disagrees.

    A name that is wrong at a rank is wrong at all lower ranks; of the higher ranks nothing is known. A sheet that is to
    be corrected is left out if the reviewers gave no name, or different ones, or a name that does not tell the label.

    Args:
        table: rows of the catalogue.
        splits: the split of each row.
        labels: settings.

    Raises:
        ValueError: a file of verdicts cannot be read.
    """
    if labels.verdicts is None:
        return JudgedSpecimens(table, splits)
    wrong = _find_wrong(table, labels)
    place = pc.index_in(pa.array(list(wrong), pa.string()), table["specimen_id"].combine_chunks()).to_pylist()
    taught = np.isin(splits.to_numpy(zero_copy_only=False).astype(str), TAUGHT)
    rows = {at: judgement for at, judgement in zip(place, wrong.values(), strict=True) if taught[at]}
    if labels.wrong == "correct":
        table = _rename(table, {at: each for at, each in rows.items() if each.name is not None})
    named = read_labels(table, labels.rank).is_valid().to_numpy()
    out = [at for at, each in rows.items() if labels.wrong == "leave_out" or each.name is None or not named[at]]
    return JudgedSpecimens(table, _replace(splits, dict.fromkeys(out, "unused")), len(out), len(rows) - len(out))


def _find_wrong(table: pa.Table, labels: Labels) -> dict[str, Judgement]:
    """Specimen → the judgement at the highest rank that says that its label is wrong."""
    matched = match_names(judge(read_verdicts(labels.verdicts)), table) if labels.verdicts else None
    lowest = len(RANKS) - 1 if labels.rank == ALL else RANKS.index(labels.rank)
    found: dict[str, Judgement] = {}
    for each in sorted(matched.current.values() if matched else (), key=lambda each: RANKS.index(each.rank)):
        if each.verdict == "wrong" and RANKS.index(each.rank) <= lowest:
            found.setdefault(each.specimen_id, each)
    return found


def _rename(table: pa.Table, rows: Mapping[int, Judgement]) -> pa.Table:
    """Give rows the names that reviewers gave, and the higher names that most sheets of this name have."""
    names: dict[str, dict[int, str | None]] = {rank: {} for rank in RANKS}
    for rank in sorted({each.rank for each in rows.values()}):
        known = {row["label"]: row for row in list_lineages(table, rank).to_pylist()}
        for at, each in rows.items():
            if each.rank == rank:
                lineage = known.get(str(each.name), {}) | {rank: each.name}
                if rank == "species" and lineage.get("genus") is None:
                    lineage["genus"] = str(each.name).split(" ")[0]
                for name in RANKS:
                    names[name][at] = lineage.get(name) if RANKS.index(name) <= RANKS.index(rank) else None
    for rank, values in names.items():
        at = table.schema.get_field_index(rank)
        table = table.set_column(at, table.schema.field(at), _replace(table[rank].combine_chunks(), values))
    return table


def _replace(column: pa.Array, values: Mapping[int, str | None]) -> pa.Array:
    """The column with other values at some places."""
    mask = np.zeros(len(column), bool)
    mask[list(values)] = True
    return pc.replace_with_mask(column, mask, pa.array([values[at] for at in sorted(values)], column.type))
