"""A curator's list: specimens whose filed name the representation doubts, most doubtful first."""

from typing import Final

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from herbray.tasks.base import PAPER_SEED, Embeddings, UnscorableError
from herbray.tasks.identify import usable
from herbray.tasks.mislabel import Mislabel, suspected
from herbray.tasks.probe import out_of_fold

SUSPECT: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),
        pa.field("given", pa.string(), nullable=False),  # the name it is filed under
        pa.field("suggested", pa.string(), nullable=False),  # the likeliest other name
        pa.field("given_probability", pa.float64(), nullable=False),
        pa.field("suggested_probability", pa.float64(), nullable=False),
        pa.field("suspected", pa.bool_(), nullable=False),  # by confident learning
    ]
)
"""One row a specimen that took part."""


def suspects(
    embeddings: Embeddings, rank: str = "genus", settings: Mislabel | None = None, seed: int = PAPER_SEED
) -> pa.Table:
    """Rank specimens by how much their filed name is doubted, all splits of the embeddings together.

    Suspected specimens come first, then by the out-of-fold probability of the filed name, lowest first, ties by id.
    Names borne by fewer specimens than there are folds take no part, since no probe could learn them.

    Args:
        embeddings: of any specimens; leave out those that trained the encoder, whose names it may know by heart.
        rank: "order", "family", "genus" or "species".
        settings: of the probe; the mislabel task's own by default. Pairs, share and draws play no part.
        seed: of the folds.

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
    with threadpool_limits(limits=settings.threads):
        probabilities, _ = out_of_fold(embeddings.features[rows], given, settings, seed)
    flagged = suspected(given, probabilities)
    every = np.arange(len(rows))
    confidence = probabilities[every, given]
    rivals = probabilities.copy()
    rivals[every, given] = -1.0
    best = rivals.argmax(axis=1)
    worst_first = np.lexsort((every, confidence, ~flagged))
    class_names = np.unique(names[rows].astype(str))
    columns = {
        "specimen_id": embeddings.specimen_id[rows],
        "rank": np.full(len(rows), rank, dtype=object),
        "given": names[rows],
        "suggested": class_names[best].astype(object),
        "given_probability": confidence,
        "suggested_probability": rivals[every, best],
        "suspected": flagged,
    }
    return pa.table({name: values[worst_first] for name, values in columns.items()}, schema=SUSPECT)
