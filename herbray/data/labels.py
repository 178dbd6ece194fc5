"""The label of a specimen: its name at the rank on which encoders are trained."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray.config import Spec
from herbray.schema import LINEAGE, RANKS

ALL: Final = "all"
"""The rank of labels that are each sheet's finest name."""


class Labels(Spec):
    """What encoders learn to distinguish."""

    rank: Literal["genus", "species", "family", "order", "all"] = Field(
        "genus",
        description="rank of the names that encoders are trained on; sheets without such a name are not used. all: the "
        "finest name of each sheet, for the hierarchical objective",
    )
    verdicts: Path | None = Field(
        None,
        description="folder with CSV files of reviewers' verdicts, or one CSV file; None: all names are taken as filed",
    )
    wrong: Literal["leave_out", "correct"] = Field(
        "leave_out",
        description="what becomes of training and validation sheets whose name was judged wrong. correct: they get the "
        "right name if the reviewers gave one, and are left out otherwise",
    )


def read_labels(catalogue: pa.Table, rank: str) -> pa.ChunkedArray:
    """Read the label of each specimen.

    At rank species, an epithet that is written without its genus gets the genus before it, because epithets repeat
    between genera.

    Args:
        catalogue: rows with the columns of the ranks.
        rank: one of `herbray.schema.RANKS`, or `ALL`.

    Returns:
        String [n]; null where the specimen has no name at the rank.
    """
    if rank == ALL:
        return pc.coalesce(*(read_labels(catalogue, each) for each in reversed(RANKS)))
    names = catalogue[rank]
    if rank != "species":
        return names
    genus = catalogue["genus"]
    is_bare = pc.and_kleene(pc.is_valid(genus), pc.invert(pc.match_substring_regex(names, r"[\s_]")))
    return pc.if_else(pc.fill_null(is_bare, False), pc.binary_join_element_wise(genus, names, " "), names)


def list_lineages(catalogue: pa.Table, rank: str) -> pa.Table:
    """List the names of each label at the higher ranks, in `schema.LINEAGE`.

    The names form a tree: if sheets of one genus differ in their family, most of them decide.

    Args:
        catalogue: as for `read_labels`.
        rank: as for `read_labels`.
    """
    columns = {each: read_labels(catalogue, each) for each in RANKS}
    if rank != ALL:
        columns |= {each: pa.nulls(len(catalogue), pa.string()) for each in RANKS[RANKS.index(rank) + 1 :]}
    counted = pa.table(columns).group_by([*RANKS]).aggregate([([], "count_all")]).to_pylist()
    parents: dict[tuple[int, str], Counter[tuple[int, str]]] = defaultdict(Counter)
    labels: dict[str, tuple[int, str]] = {}
    for row in counted:
        names = [(place, row[each]) for place, each in enumerate(RANKS) if row[each] is not None]
        for higher, lower in itertools.pairwise(names):
            parents[lower][higher] += row["count_all"]
        if names and (rank == ALL or RANKS[names[-1][0]] == rank):
            labels[names[-1][1]] = max(names[-1], labels.get(names[-1][1], names[-1]))
    rows = [{"label": label, **_climb(labels[label], parents)} for label in sorted(labels)]
    return pa.Table.from_pylist(rows, schema=LINEAGE)


def _climb(name: tuple[int, str], parents: dict[tuple[int, str], Counter[tuple[int, str]]]) -> dict[str, str]:
    """The names from a name up to the root, by rank."""
    found = {RANKS[name[0]]: name[1]}
    while name in parents:
        name = min(parents[name], key=lambda each: (-each[0], -parents[name][each], each))
        found[RANKS[name[0]]] = name[1]
    return found


def encode_lineages(lineages: pa.Table, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Encode the names of some labels at each rank at which any has a name.

    Args:
        lineages: in `schema.LINEAGE`.
        labels: in the order of the result.

    Returns:
        Int64 [labels, ranks], from the highest rank; equal names have equal codes, and -1 is no name.

    Raises:
        ValueError: a label has no lineage, or all names are of one rank.
    """
    rows = {row["label"]: row for row in lineages.to_pylist()}
    if unknown := sorted(set(labels) - rows.keys()):
        raise ValueError(f"no lineage of {unknown[0]}")
    columns = []
    for rank in RANKS:
        names = [rows[label][rank] for label in labels]
        codes = {name: code for code, name in enumerate(sorted({*names} - {None}))}
        if codes:
            columns.append([codes.get(name, -1) for name in names])
    if len(columns) < 2:
        raise ValueError(
            "the hierarchical objective needs names at two ranks or more, such as genus and family: add these columns "
            "to the table, set labels.rank=all, or use another objective"
        )
    return np.array(columns, np.int64).T
