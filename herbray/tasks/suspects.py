"""List of specimens whose filed name looks wrong to the encoder, most doubtful first, with evidence for curators."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from herbray import schema
from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.columns import Ids, Labels
from herbray.tasks.interface.embeddings import Embeddings, Indices, Objects, UnscorableError
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.confident import Summary, summarise
from herbray.tasks.methods.detect import confident_learning
from herbray.tasks.methods.probe import predict_out_of_fold
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.mislabel import Mislabel

SUSPECT: Final = pa.schema(list(schema.SUSPECT)[:10])
"""The columns of `schema.SUSPECT` that follow from embeddings alone; one row per judged specimen."""


@dataclass(frozen=True, eq=False)
class SuspectList:
    """The list, and which specimens were not judged.

    Attributes:
        table: schema `SUSPECT`.
        not_judged: a sentence: how many sheets of how many names were not judged, and why; "" if all were.
    """

    table: pa.Table
    not_judged: str


def list_suspects(
    embeddings: Embeddings,
    rank: str = "genus",
    settings: Mislabel | None = None,
    seed: int = PAPER_SEED,
    neighbours: int = 5,
) -> SuspectList:
    """Rank specimens by how doubtful their filed name is, over all splits of the embeddings together.

    Suspected specimens come first; within each group, the lowest out-of-fold probability of the filed name comes first,
    with ties in the order of ids. Names with fewer gatherings than there are folds are not judged: a gathering is held
    out as a whole, so a probe would have too few other plants, or none, from which to learn such a name.

    Args:
        embeddings: of any specimens; exclude those that trained the encoder, whose names it may have memorised.
        rank: "order", "family", "genus" or "species".
        settings: settings of the probe; by default those of the mislabel task. Pairs, share and draws are ignored.
        seed: seed of the folds.
        neighbours: number of most similar sheets to list as evidence, excluding sheets of the same gathering. Their
            names may be too rare to be judged, or undetermined, which is written as "".

    Raises:
        ValueError: the rank is unknown.
        UnscorableError: fewer than two names have at least as many gatherings as there are folds.
    """
    settings = settings or Mislabel()
    names = embeddings.rank(rank)
    units = embeddings_units(embeddings)
    rows, given, counts = select_classes(names, units, settings.folds)
    if counts["classes"] < 2:
        raise UnscorableError(
            f"suspects, rank {rank!r}: {counts['classes']} names have the {settings.folds} gatherings that "
            f"{settings.folds} folds need, but at least two must; embed more specimens or choose a wider rank"
        )
    with threadpool_limits(limits=settings.threads):
        probabilities = predict_out_of_fold(embeddings.take(rows).features, given, units[rows], settings, seed)
        near = find_all_nearest(np.asarray(embeddings.features), units, neighbours, rows)
        summary = summarise(given, probabilities)
        doubt = confident_learning(given, probabilities, summary)
    worst_first = np.lexsort((np.arange(len(rows)), summary.own, ~doubt.flagged))
    columns = _columns(embeddings, rank, rows, summary)
    columns |= {"suspected": doubt.flagged, **_evidence(embeddings.specimen_id, names, near)}
    values = {name: column[worst_first].tolist() for name, column in columns.items()}
    table = pa.table({"place": range(1, len(rows) + 1), **values}, schema=SUSPECT)
    return SuspectList(table, _describe_not_judged(counts, rank, settings.folds))


def _describe_not_judged(counts: dict[str, int], rank: str, folds: int) -> str:
    """Which sheets were not judged, and why."""
    parts = []
    if rare := counts["classes_left_out"]:
        sheets = _count_noun(counts["rows_left_out"], "sheet")
        parts.append(
            f"{sheets} of {_count_noun(rare, 'name')} in fewer than {folds} gatherings, which is the number of folds: "
            "a probe can judge a name only if it has learned the name from other plants"
        )
    if unnamed := counts["rows_undetermined"]:
        parts.append(f"{_count_noun(unnamed, 'sheet')} without a name at rank {rank}")
    return f"Not judged: {'; '.join(parts)}." if parts else ""


def _count_noun(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _columns(embeddings: Embeddings, rank: str, rows: Indices, summary: Summary) -> dict[str, npt.NDArray[Any]]:
    names = embeddings.rank(rank)[rows]
    return {
        "specimen_id": embeddings.specimen_id[rows],
        "rank": np.full(len(rows), rank, dtype=object),
        "given": names,
        "suggested": np.unique(names.astype(str)).astype(object)[summary.rival],
        "given_probability": summary.own,
        "suggested_probability": summary.rival_probability,
    }


def _evidence(ids: Ids, names: Labels, near: NearestRows) -> dict[str, Objects]:
    """Ids and filed names of the neighbours of each row, as object arrays of lists."""
    found = {name: np.empty(len(near.rows), dtype=object) for name in ("neighbours", "neighbour_names")}
    for at, (neighbours, valid) in enumerate(zip(near.neighbours, near.valid, strict=True)):
        others = neighbours[valid]
        found["neighbours"][at] = ids[others].tolist()
        found["neighbour_names"][at] = ["" if name is None else name for name in names[others]]
    return found
