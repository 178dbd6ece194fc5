"""Suggestions for specimens without a name: the most probable name at each rank, and whether it is accepted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from herbray.schema import RANKS
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices, Mask, Objects
from herbray.tasks.naming.learning import Case, Namer
from herbray.tasks.naming.open_set import measure_distance
from herbray.tasks.naming.rank_model import NOTHING, restrict


@dataclass(frozen=True, eq=False)
class Unnamed:
    """Specimens without a name at some rank.

    Attributes:
        ids: [u].
        features: Float32 [u, d].
        filed: rank → name [u], None where undetermined.
    """

    ids: Objects
    features: npt.NDArray[np.float32]
    filed: Mapping[str, Objects]

    def given(self, rank: str) -> Objects:
        """The narrowest rank above `rank` with a name, for each specimen [u]; `NOTHING` if there is none."""
        found = np.full(len(self.ids), NOTHING, dtype=object)
        for wider in RANKS[: RANKS.index(rank)]:
            found[self.filed[wider] != None] = wider  # noqa: E711  (element by element)
        return found


@dataclass(frozen=True, eq=False)
class RankSuggestions:
    """Suggestions at one rank; None and NaN for specimens that have a name there.

    Attributes:
        names: [u] the most probable possible name; None if no known name is possible.
        confidence: [u].
        accepted: [u].
    """

    names: Objects
    confidence: Floats
    accepted: Mask


@dataclass(frozen=True, eq=False)
class Suggestions:
    """Suggestions for all specimens.

    Attributes:
        by_rank: rank → suggestions.
        unknown: [u] whether none of the known names fits; None where that was not judged.
        name: [u] the narrowest accepted name that agrees with the wider ones; None if there is none.
        rank: [u] its rank.
        confidence: [u] its confidence.
        conflicts: number of accepted names that do not agree with a wider name.
    """

    by_rank: Mapping[str, RankSuggestions]
    unknown: Objects
    name: Objects
    rank: Objects
    confidence: Floats
    conflicts: int


def list_cases(unnamed: Unnamed, finest: str) -> list[Case]:
    """The cases that occur among the specimens, from the widest rank to `finest`."""
    ranks = RANKS[: RANKS.index(finest) + 1]
    found: dict[Case, None] = {}
    for rank in ranks:
        empty = unnamed.filed[rank] == None  # noqa: E711  (element by element)
        found |= dict.fromkeys((rank, given) for given in sorted(set(unnamed.given(rank)[empty])))
    return list(found)


def suggest_names(namer: Namer, unnamed: Unnamed, embeddings: Embeddings) -> Suggestions:
    """Suggest names. Nothing is accepted for a specimen that looks like none of the known names.

    Args:
        namer: what was learned.
        unnamed: the specimens.
        embeddings: the named specimens that the namer learned from.
    """
    unknown = _find_unknown(namer, unnamed, embeddings)
    by_rank = {}
    for rank in namer.models:
        found = _suggest_at(namer, unnamed, rank)
        by_rank[rank] = RankSuggestions(found.names, found.confidence, found.accepted & (unknown != True))  # noqa: E712
    return _choose(namer, unnamed, by_rank, unknown)


def _suggest_at(namer: Namer, unnamed: Unnamed, rank: str) -> RankSuggestions:
    model, count = namer.models[rank], len(unnamed.ids)
    names, confidence = np.full(count, None, dtype=object), np.full(count, np.nan)
    accepted = np.zeros(count, dtype=bool)
    empty = unnamed.filed[rank] == None  # noqa: E711  (element by element)
    given = unnamed.given(rank)
    for case in sorted(set(given[empty])):
        used = case if (rank, case) in namer.trusts else NOTHING
        calibration, least = namer.trusts[rank, used].calibration, namer.thresholds[rank, used].confidence
        rows = np.flatnonzero(empty & (given == case))
        wider = unnamed.filed[used][rows] if used != NOTHING else np.full(len(rows), NOTHING, dtype=object)
        for part, block in model.predict(unnamed.features, rows):
            restricted = restrict(block, model.allow(used, wider[part]))
            top, sure = calibration.rate(restricted)
            possible = restricted.any(axis=1)
            here = rows[part]
            names[here[possible]] = model.names[top[possible]]
            confidence[here] = sure
            accepted[here] = possible & (sure >= least)
    return RankSuggestions(names, confidence, accepted)


def _find_unknown(namer: Namer, unnamed: Unnamed, embeddings: Embeddings) -> Objects:
    """Whether the open-set rule finds each specimen strange [u]; None for those that have a name at its rank."""
    found = np.full(len(unnamed.ids), None, dtype=object)
    if namer.open_set is None:
        return found
    model, calibration = namer.models[namer.open_set.rank], namer.trusts[namer.open_set.rank, NOTHING].calibration
    rows = np.flatnonzero(unnamed.filed[model.rank] == None)  # noqa: E711  (element by element)
    sure = [calibration.rate(block)[1] for _, block in model.predict(unnamed.features, rows)]
    signs = {
        "distance": measure_distance(np.asarray(embeddings.features[model.rows]), unnamed.features[rows]),
        "confidence": 1 - np.concatenate([np.empty(0), *sure]),
    }
    found[rows] = namer.open_set.recognise(signs).astype(object)
    return found


def _choose(namer: Namer, unnamed: Unnamed, by_rank: Mapping[str, RankSuggestions], unknown: Objects) -> Suggestions:
    """The narrowest accepted name that agrees with every wider name that is given or accepted."""
    count = len(unnamed.ids)
    name, rank = np.full((2, count), None, dtype=object)
    confidence, conflicts = np.full(count, np.nan), 0
    for this, found in by_rank.items():
        agrees = found.accepted & _agree(namer, unnamed, by_rank, this)
        conflicts += int((found.accepted & ~agrees).sum())
        name[agrees], rank[agrees], confidence[agrees] = found.names[agrees], this, found.confidence[agrees]
    return Suggestions(by_rank, unknown, name, rank, confidence, conflicts)


def _agree(namer: Namer, unnamed: Unnamed, by_rank: Mapping[str, RankSuggestions], rank: str) -> Mask:
    """Whether each suggestion at a rank occurs below the wider names of its specimen."""
    model = namer.models[rank]
    place: dict[str, int] = {name: number for number, name in enumerate(model.names)}
    agrees = np.ones(len(unnamed.ids), dtype=bool)
    for wider, below in model.below.items():
        names = unnamed.filed[wider]
        if wider in by_rank:
            names = np.where(by_rank[wider].accepted, by_rank[wider].names, names)
        for row in np.flatnonzero(by_rank[rank].accepted & (names != None)):  # noqa: E711
            known = below.get(names[row])
            agrees[row] &= known is None or bool(known[place[by_rank[rank].names[row]]])
    return agrees


def find_families(model_rows: Indices, embeddings: Embeddings, rank: str) -> dict[str, str]:
    """Name at a rank → the family that most of its specimens are filed under."""
    names, families = embeddings.rank(rank)[model_rows], embeddings.family[model_rows]
    counts: dict[str, dict[str, int]] = {}
    for name, family in zip(names, families, strict=True):
        if name is not None and family is not None:
            own = counts.setdefault(name, {})
            own[family] = own.get(family, 0) + 1
    return {name: min(own, key=lambda family: (-own[family], family)) for name, own in counts.items()}
