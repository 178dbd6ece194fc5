"""List of specimens whose filed name is probably wrong, most probable first, with evidence for curators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from herbray import schema
from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.columns import Ids, Labels
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices, Objects, UnscorableError
from herbray.tasks.judged import FIRST
from herbray.tasks.methods.classes import count_units, select_classes
from herbray.tasks.methods.confident import summarise
from herbray.tasks.methods.probe import predict_out_of_fold
from herbray.tasks.methods.units import embeddings_units, gathering_codes, join_units
from herbray.tasks.mislabel import Mislabel
from herbray.tasks.wrong_names.calibrated import VOTERS, Votes, calibrate
from herbray.tasks.wrong_names.conflicts import find_conflicts
from herbray.tasks.wrong_names.doubts import Evidence, NameDoubts, doubt_names
from herbray.tasks.wrong_names.error_rates import Kernel
from herbray.tasks.wrong_names.expected import Expected, estimate_wrong
from herbray.tasks.wrong_names.kin import find_kin
from herbray.tasks.wrong_names.reliability import Reliability, measure_reliability, read_first_names

SUSPECT: Final = pa.schema(list(schema.SUSPECT)[:12])
"""The columns of `schema.SUSPECT` that follow from embeddings alone; one row per listed specimen."""

NOT_JUDGED: Final = pa.schema(
    [
        pa.field("specimen_id", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),
        pa.field("given", pa.string()),  # null: the sheet has no name at this rank
        pa.field("gatherings", pa.int64()),  # under this name
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""One row per specimen that is not on the list."""


@dataclass(frozen=True, eq=False)
class SuspectList:
    """The list, and which specimens were not judged.

    Attributes:
        table: in `SUSPECT`.
        unjudged: in `NOT_JUDGED`.
        not_judged: a sentence: how many sheets of how many names were not judged, and why; "" if all were.
        expected: estimated numbers of wrong names among the first of the list.
        total: estimated number of wrong names in the whole list.
        before: how reliable the probabilities of the probe are as they are, measured against the filed names.
        after: the same, calibrated.
        uncalibrated: [m] probability of the filed name as the probe gives it, in the order of the list; nan if it was
            not asked.
    """

    table: pa.Table
    unjudged: pa.Table
    not_judged: str
    expected: Sequence[Expected]
    total: float
    before: Reliability
    after: Reliability
    uncalibrated: Floats


def list_suspects(
    embeddings: Embeddings,
    rank: str = "genus",
    settings: Mislabel | None = None,
    seed: int = PAPER_SEED,
    neighbours: int = 5,
    accepted: Mapping[str, str] | None = None,
    same: Labels | None = None,
) -> SuspectList:
    """Rank specimens by how probably their filed name is wrong.

    Every sheet is judged by a probe, neighbours and a temperature that have seen neither the sheet nor its gathering.
    Names with fewer gatherings than there are folds are not judged: a gathering is held out as a whole, so a probe
    would have too few other plants, or none, from which to learn such a name. But the sheets of a gathering that has
    several names are all listed, whatever their names.

    Args:
        embeddings: of any specimens. An encoder that was trained on some of them has seen their filed names, right or
            wrong; see the tutorial for what follows.
        rank: "order", "family", "genus" or "species".
        settings: settings of the probe; by default those of the mislabel task. Pairs, share and draws are ignored.
        seed: seed of the folds.
        neighbours: number of most similar sheets to list as evidence, excluding sheets of the same gathering. Their
            names may be too rare to be judged, or undetermined, which is written as "".
        accepted: synonym → accepted name. Names are judged as accepted names; a sheet under a synonym whose name is not
            suspected gets the kind "synonym", and the accepted name as suggestion.
        same: [n] group of sheets that have one image, None for most; they are treated as sheets of one gathering.

    Raises:
        ValueError: the rank is unknown.
        UnscorableError: fewer than two names have at least as many gatherings as there are folds.
    """
    settings = settings or Mislabel()
    filed = embeddings.rank(rank)
    names = _accept(filed, accepted or {})
    units = embeddings_units(embeddings)
    if same is not None:
        units = join_units(units, gathering_codes(same))
    rows, given, counts = select_classes(names, units, settings.folds)
    if counts["classes"] < 2:
        raise UnscorableError(
            f"suspects, rank {rank!r}: {counts['classes']} names have the {settings.folds} gatherings that "
            f"{settings.folds} folds need, but at least two must; embed more specimens or choose a wider rank"
        )
    codes = names.codes.astype(np.intp)
    with threadpool_limits(limits=settings.threads):
        raw = predict_out_of_fold(embeddings.take(rows).features, given, units[rows], settings, seed)
        near = find_all_nearest(np.asarray(embeddings.features), units, max(neighbours, VOTERS))
        kernel = Kernel.of(given, find_kin(embeddings, rank, rows, given))
        voters = np.full(len(codes), -1)
        voters[rows] = given
        probabilities = calibrate(raw, given, Votes(near, rows, voters, kernel.frequency), kernel, seed)
        doubts = doubt_names(Evidence(codes, units, rows, np.unique(codes[rows]), probabilities))
        doubts = doubts.take(np.lexsort((doubts.rows, doubts.own, -doubts.wrong)))
        expected = estimate_wrong(doubts, FIRST, seed)
    table = _table(embeddings, rank, names, doubts, near, neighbours)
    unjudged = _list_unjudged(embeddings, rank, names, units, doubts.rows, settings.folds)
    before, after = (measure_reliability(*read_first_names(given, each)) for each in (raw, probabilities))
    told = _describe_not_judged(unjudged, rank, settings.folds)
    own = np.full(len(codes), np.nan)
    own[rows] = summarise(given, raw).own
    return SuspectList(table, unjudged, told, expected, float(doubts.wrong.sum()), before, after, own[doubts.rows])


def _accept(filed: Labels, accepted: Mapping[str, str]) -> Labels:
    """The names with synonyms replaced."""
    if not accepted:
        return filed
    return Labels.of(np.array([accepted.get(name, name) for name in filed], dtype=object))


def _table(
    embeddings: Embeddings, rank: str, names: Labels, doubts: NameDoubts, near: NearestRows, neighbours: int
) -> pa.Table:
    """The list in `SUSPECT`."""
    rows, filed = doubts.rows, embeddings.rank(rank)
    suspected = doubts.wrong >= 0.5
    old = (filed[rows] != names[rows]) & ~suspected
    collected = np.zeros(len(names), dtype=bool)
    for each in find_conflicts(names.codes.astype(np.intp), embeddings_units(embeddings)):
        collected[each.rows] = True
    kind = np.select([old, collected[rows], doubts.conflict], ["synonym", "gathering", "image"], "name")
    columns = {
        "place": np.arange(1, len(rows) + 1),
        "specimen_id": embeddings.specimen_id[rows],
        "rank": np.full(len(rows), rank, dtype=object),
        "given": filed[rows],
        "suggested": np.where(old, names[rows], names.names[doubts.suggested]),
        "given_probability": doubts.own,
        "suggested_probability": np.where(old, doubts.own, doubts.suggested_probability),
        "wrong_probability": doubts.wrong,
        "suspected": suspected,
        "kind": kind.astype(object),
        **_evidence(embeddings.specimen_id, filed, near, rows, neighbours),
    }
    return pa.table({name: column.tolist() for name, column in columns.items()}, schema=SUSPECT)


def _evidence(ids: Ids, names: Labels, near: NearestRows, rows: Indices, many: int) -> dict[str, Objects]:
    """Ids and filed names of the neighbours of some rows, as object arrays of lists."""
    found = {name: np.empty(len(rows), dtype=object) for name in ("neighbours", "neighbour_names")}
    for at, row in enumerate(rows):
        others = near.neighbours[row, :many][near.valid[row, :many]]
        found["neighbours"][at] = ids[others].tolist()
        found["neighbour_names"][at] = ["" if name is None else name for name in names[others]]
    return found


def _list_unjudged(
    embeddings: Embeddings, rank: str, names: Labels, units: Indices, listed: Indices, folds: int
) -> pa.Table:
    """The specimens that are not on the list, in `NOT_JUDGED`."""
    rest = np.ones(len(names), dtype=bool)
    rest[listed] = False
    rows, named = np.flatnonzero(rest), names.known()
    many = count_units(names.codes[named].astype(np.intp), units[named], len(names.names))
    known = names.codes[rows] >= 0
    reasons = np.where(known, f"fewer than {folds} gatherings under this name", "no name at this rank")
    return pa.table(
        {
            "specimen_id": embeddings.specimen_id[rows],
            "rank": [rank] * len(rows),
            "given": embeddings.rank(rank)[rows].tolist(),
            "gatherings": pa.array(many[names.codes[rows]] if len(many) else known, mask=~known),
            "reason": reasons.tolist(),
        },
        schema=NOT_JUDGED,
    )


def _describe_not_judged(unjudged: pa.Table, rank: str, folds: int) -> str:
    """Which sheets were not judged, and why."""
    parts = []
    rare = [name for name in unjudged["given"].to_pylist() if name is not None]
    if rare:
        parts.append(
            f"{_count_noun(len(rare), 'sheet')} of {_count_noun(len(set(rare)), 'name')} in fewer than {folds} "
            "gatherings, which is the number of folds: "
            "a probe can judge a name only if it has learned the name from other plants"
        )
    if unnamed := len(unjudged) - len(rare):
        parts.append(f"{_count_noun(unnamed, 'sheet')} without a name at rank {rank}")
    return f"Not judged: {'; '.join(parts)}." if parts else ""


def _count_noun(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
