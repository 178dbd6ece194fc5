"""A curator's list: specimens whose filed name the representation doubts, most doubtful first, with the evidence."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from herbray import schema
from herbray.tasks.base import PAPER_SEED, Embeddings, Floats, Indices, Objects, UnscorableError
from herbray.tasks.detect import confident
from herbray.tasks.mislabel import Mislabel
from herbray.tasks.neighbours import Near, all_nearest, embeddings_units
from herbray.tasks.probe import out_of_fold, usable

SUSPECT: Final = pa.schema(list(schema.SUSPECT)[:10])
"""What embeddings alone can tell of `schema.SUSPECT`: one row a specimen that took part."""


def suspects(
    embeddings: Embeddings,
    rank: str = "genus",
    settings: Mislabel | None = None,
    seed: int = PAPER_SEED,
    neighbours: int = 5,
) -> pa.Table:
    """Rank specimens by how much their filed name is doubted, all splits of the embeddings together.

    Suspected specimens come first, then by the out-of-fold probability of the filed name, lowest first, ties by id.
    Names borne by fewer specimens than there are folds take no part, since no probe could learn them.

    Args:
        embeddings: of any specimens; leave out those that trained the encoder, whose names it may know by heart.
        rank: "order", "family", "genus" or "species".
        settings: of the probe; the mislabel task's own by default. Pairs, share and draws play no part.
        seed: of the folds.
        neighbours: how many of the most similar sheets are named as evidence; none of the own gathering. They may be
            too rare a name to take part, or undetermined, which reads "".

    Returns:
        A table in `SUSPECT`.

    Raises:
        ValueError: no such rank.
        UnscorableError: fewer than two names have as many specimens as there are folds.
    """
    settings = settings or Mislabel()
    names = embeddings.rank(rank)
    rows, given, counts = usable(names, settings.folds)
    if counts["classes"] < 2:
        raise UnscorableError(
            f"suspects, rank {rank!r}: {counts['classes']} names have the {settings.folds} specimens that "
            f"{settings.folds} folds need, and at least two must; embed more specimens or take a wider rank"
        )
    units = embeddings_units(embeddings)
    with threadpool_limits(limits=settings.threads):
        probabilities, _ = out_of_fold(embeddings.features[rows], given, units[rows], settings, seed)
        near = all_nearest(embeddings.features, units, neighbours)
    doubt = confident(given, probabilities)
    worst_first = np.lexsort((np.arange(len(rows)), probabilities[np.arange(len(rows)), given], ~doubt.flagged))
    columns = _columns(embeddings, rank, rows, given, probabilities)
    columns |= {"suspected": doubt.flagged, **_evidence(embeddings.specimen_id, names, near, rows)}
    values = {name: column[worst_first].tolist() for name, column in columns.items()}
    return pa.table({"place": range(1, len(rows) + 1), **values}, schema=SUSPECT)


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


def _evidence(ids: Objects, names: Objects, near: Near, rows: Indices) -> dict[str, Objects]:
    """Ids and filed names of each row's neighbours, as lists in an array of objects."""
    found = {name: np.empty(len(rows), dtype=object) for name in ("neighbours", "neighbour_names")}
    for at, row in enumerate(rows.tolist()):
        others = near.neighbours[row][near.valid[row]]
        found["neighbours"][at] = ids[others].tolist()
        found["neighbour_names"][at] = ["" if name is None else name for name in names[others]]
    return found
