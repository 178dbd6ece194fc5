"""A curator's list: specimens whose filed name the representation doubts, most doubtful first, with the evidence."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from herbray import schema
from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.base import PAPER_SEED, Embeddings, Floats, Indices, Objects, UnscorableError
from herbray.tasks.methods.detect import confident
from herbray.tasks.methods.probe import out_of_fold, usable
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.mislabel import Mislabel

SUSPECT: Final = pa.schema(list(schema.SUSPECT)[:10])
"""What embeddings alone can tell of `schema.SUSPECT`: one row a specimen that took part."""


@dataclass(frozen=True, eq=False)
class Listed:
    """The list, and who is not on it.

    Attributes:
        table: in `SUSPECT`.
        not_judged: sentences for a person: how many sheets of how many names take no part, and why; "" where all do.
    """

    table: pa.Table
    not_judged: str


def suspects(
    embeddings: Embeddings,
    rank: str = "genus",
    settings: Mislabel | None = None,
    seed: int = PAPER_SEED,
    neighbours: int = 5,
) -> Listed:
    """Rank specimens by how much their filed name is doubted, all splits of the embeddings together.

    Suspected specimens come first, then by the out-of-fold probability of the filed name, lowest first, ties by id.
    Names that lie in fewer gatherings than there are folds take no part: a gathering is held out whole, so that a probe
    would have too few other plants, or none, to learn such a name from.

    Args:
        embeddings: of any specimens; leave out those that trained the encoder, whose names it may know by heart.
        rank: "order", "family", "genus" or "species".
        settings: of the probe; the mislabel task's own by default. Pairs, share and draws play no part.
        seed: of the folds.
        neighbours: how many of the most similar sheets are named as evidence; none of the own gathering. They may be
            too rare a name to take part, or undetermined, which reads "".

    Raises:
        ValueError: no such rank.
        UnscorableError: fewer than two names lie in as many gatherings as there are folds.
    """
    settings = settings or Mislabel()
    names = embeddings.rank(rank)
    units = embeddings_units(embeddings)
    rows, given, counts = usable(names, units, settings.folds)
    if counts["classes"] < 2:
        raise UnscorableError(
            f"suspects, rank {rank!r}: {counts['classes']} names lie in the {settings.folds} gatherings that "
            f"{settings.folds} folds need, and at least two must; embed more specimens or take a wider rank"
        )
    with threadpool_limits(limits=settings.threads):
        probabilities, _ = out_of_fold(embeddings.features[rows], given, units[rows], settings, seed)
        near = find_all_nearest(embeddings.features, units, neighbours, rows)
    doubt = confident(given, probabilities)
    worst_first = np.lexsort((np.arange(len(rows)), probabilities[np.arange(len(rows)), given], ~doubt.flagged))
    columns = _columns(embeddings, rank, rows, given, probabilities)
    columns |= {"suspected": doubt.flagged, **_evidence(embeddings.specimen_id, names, near)}
    values = {name: column[worst_first].tolist() for name, column in columns.items()}
    table = pa.table({"place": range(1, len(rows) + 1), **values}, schema=SUSPECT)
    return Listed(table, _not_judged(counts, rank, settings.folds))


def _not_judged(counts: dict[str, int], rank: str, folds: int) -> str:
    """Which sheets take no part, in words."""
    told = []
    if rare := counts["classes_left_out"]:
        told.append(
            f"{_many(counts['rows_left_out'], 'sheet')} of {_many(rare, 'name')} in fewer than {folds} gatherings, as "
            "many as there are folds: a probe needs other plants of a name to judge one"
        )
    if unnamed := counts["rows_undetermined"]:
        told.append(f"{_many(unnamed, 'sheet')} without a name at rank {rank}")
    return f"Not judged: {'; '.join(told)}." if told else ""


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _columns(
    embeddings: Embeddings, rank: str, rows: Indices, given: Indices, probabilities: Floats
) -> dict[str, npt.NDArray[Any]]:
    names = embeddings.rank(rank)[rows]
    every = np.arange(len(rows))
    rivals = probabilities.copy()
    rivals[every, given] = -1.0
    best = rivals.argmax(axis=1)
    return {
        "specimen_id": embeddings.specimen_id[rows],
        "rank": np.full(len(rows), rank, dtype=object),
        "given": names,
        "suggested": np.unique(names.astype(str)).astype(object)[best],
        "given_probability": probabilities[every, given],
        "suggested_probability": rivals[every, best],
    }


def _evidence(ids: Objects, names: Objects, near: NearestRows) -> dict[str, Objects]:
    """Ids and filed names of each row's neighbours, as lists in an array of objects."""
    found = {name: np.empty(len(near.rows), dtype=object) for name in ("neighbours", "neighbour_names")}
    for at, (neighbours, valid) in enumerate(zip(near.neighbours, near.valid, strict=True)):
        others = neighbours[valid]
        found["neighbours"][at] = ids[others].tolist()
        found["neighbour_names"][at] = ["" if name is None else name for name in names[others]]
    return found
