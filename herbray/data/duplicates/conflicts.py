"""Conflicts: duplicates that are filed under different names."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.shared_images import MOST_SPECIMENS
from herbray.schema import CONFLICT, RANKS

_FACTS: Final = ("image", "institution", "catalog_number", "reference")


def find_conflicts(table: pa.Table, groups: pa.ChunkedArray, kind: str | pa.ChunkedArray) -> pa.Table:
    """List the specimens of which a duplicate has another name.

    Names are compared from the widest rank to the narrowest; the first one at which two specimens of a group differ
    counts. A missing name differs from none.

    Args:
        table: rows of a catalogue.
        groups: the key of each row's group of duplicates; null: it has none. Groups of more than 100 are passed over.
        kind: of the groups, or one for each row.

    Returns:
        A table in `herbray.schema.CONFLICT`, by kind, group and id.
    """
    coded = groups.combine_chunks().dictionary_encode()
    if not len(coded.dictionary):
        return CONFLICT.empty_table()
    group = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    sizes = np.bincount(group[group >= 0], minlength=len(coded.dictionary))
    open_groups = (sizes > 1) & (sizes <= MOST_SPECIMENS)
    found: list[dict[str, Any]] = []
    for rank in RANKS:
        differs = _find_differing(group, table[rank], open_groups)
        rows = np.flatnonzero((group >= 0) & differs[group])
        columns = ["specimen_id", *dict.fromkeys((rank, *_FACTS))]
        members = table.select(columns).append_column("group", groups)
        members = members.append_column(
            "kind", kind if isinstance(kind, pa.ChunkedArray) else _repeat(kind, len(table))
        )
        found += _list_rows(members.take(pa.array(rows)).to_pylist(), rank)
        open_groups &= ~differs
    ordered = sorted(found, key=lambda row: (row["kind"], row["group"], row["specimen_id"]))
    return pa.Table.from_pylist(ordered, schema=CONFLICT)


def _repeat(kind: str, many: int) -> pa.Array:
    return pa.repeat(pa.scalar(kind), many)


def _find_differing(group: np.ndarray, names: pa.ChunkedArray, open_groups: np.ndarray) -> np.ndarray:
    """Whether each group has two names."""
    coded = names.combine_chunks().dictionary_encode()
    name = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    known = np.flatnonzero((group >= 0) & (name >= 0))
    known = known[open_groups[group[known]]]
    pairs = np.unique(np.stack([group[known], name[known]], 1), axis=0)
    differs: np.ndarray = np.bincount(pairs[:, 0], minlength=len(open_groups)) > 1
    return differs


def _list_rows(members: Sequence[dict[str, Any]], rank: str) -> Iterator[dict[str, Any]]:
    """One row per specimen that has a name at this rank."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(members, key=lambda row: row["specimen_id"]):
        if row[rank] is not None:
            groups.setdefault(row["group"], []).append(row)
    for rows in groups.values():
        counts = Counter(row[rank] for row in rows)
        for row in rows:
            others = [other for other in rows if other[rank] != row[rank]]
            yield {
                **{name: row[name] for name in ("kind", "group", "specimen_id", *_FACTS)},
                "rank": rank,
                "given": row[rank],
                "suggested": min({other[rank] for other in others}, key=lambda name: (-counts[name], name)),
                "duplicates": [other["specimen_id"] for other in others],
                "duplicate_names": [other[rank] for other in others],
            }


def describe_conflicts(conflicts: pa.Table, file: str) -> list[str]:
    """Sentences on the conflicts, for the user."""
    told = {
        "gathering": "gatherings",
        "file": "images of several specimens",
        "image": "groups of equal images",
        "near_image": "groups of nearly equal images",
    }
    lines = []
    for kind in pc.unique(conflicts["kind"]).to_pylist():
        rows = conflicts.filter(pc.equal(conflicts["kind"], kind))
        many = pc.count_distinct(rows["group"]).as_py()
        lines.append(f"{told[kind]} under different names: {many:,} ({len(rows):,} specimens), listed in {file}")
    return lines
