"""The sheets of a name that look most like a doubtful sheet: what a curator compares it with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices
from herbray.tasks.methods.units import embeddings_units

Single = npt.NDArray[np.float32]

_BLOCK: Final = 256  # queries compared at a time


@dataclass(frozen=True, eq=False)
class Likeness:
    """The most similar sheets of one name, nearest first.

    Attributes:
        rows: [k] of the embeddings; fewer if the name has fewer sheets of other gatherings.
        distance: [k] 1 - cosine, from 0 to 2.
    """

    rows: Indices
    distance: Floats


def find_most_alike(
    embeddings: Embeddings, rank: str, queries: Sequence[int], names: Sequence[str], k: int
) -> list[Likeness]:
    """Find the nearest sheets of a name for each query, without sheets of the query's own gathering.

    Args:
        embeddings: of all sheets.
        rank: of the names.
        queries: [m] rows of the embeddings.
        names: [m] the name whose sheets are wanted, one for each query.
        k: most sheets for a query.
    """
    filed, units, wanted = embeddings.rank(rank), embeddings_units(embeddings), np.array(names, dtype=object)
    rows = np.array(queries, dtype=np.intp)
    found: dict[int, Likeness] = {}
    for name in dict.fromkeys(names):
        members = np.flatnonzero(filed == name)
        points, places = _unit(embeddings, members), np.flatnonzero(wanted == name)
        for start in range(0, len(places), _BLOCK):
            block = places[start : start + _BLOCK]
            distance = 1.0 - _unit(embeddings, rows[block]) @ points.T
            distance[units[rows[block]][:, None] == units[members][None, :]] = np.inf
            found |= {place: _nearest(members, each, k) for place, each in zip(block.tolist(), distance, strict=True)}
    return [found[place] for place in range(len(names))]


def _nearest(members: Indices, distance: Single, k: int) -> Likeness:
    order = np.argsort(distance, kind="stable")[:k]
    order = order[np.isfinite(distance[order])]
    return Likeness(members[order], np.maximum(distance[order], 0.0).astype(np.float64))


def _unit(embeddings: Embeddings, rows: Indices) -> Single:
    """Unit vectors [r, d]; zero stays zero."""
    points = embeddings.features[rows]
    length = np.linalg.norm(points, axis=1, keepdims=True)
    unit: Single = np.divide(points, length, out=np.zeros_like(points), where=length > 0)
    return unit


def list_proposals(suggested: str, given: str, neighbour_names: Sequence[str], most: int = 2) -> list[str]:
    """The names to compare with: the suggested one, and the most frequent other names of the nearest sheets."""
    others = Counter(name for name in neighbour_names if name not in (suggested, given, ""))
    return [suggested, *(name for name, _ in others.most_common())][:most]
