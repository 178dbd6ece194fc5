"""What is learned of the names at one rank: a probe, and its predictions for the named specimens, out of fold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.probes.linear import LinearProbe, Probabilities
from herbray.schema import RANKS
from herbray.tasks.interface.embeddings import Embeddings, Features, Floats, Indices, Mask, Objects, UnscorableError
from herbray.tasks.methods.classes import explain_too_few, select_classes
from herbray.tasks.methods.probe import OutOfFold, ProbeTask, fit_probes_of, predict_out_of_fold
from herbray.tasks.methods.units import embeddings_units

NOTHING: Final = ""
"""Stands for a rank where no name is given."""


@dataclass(frozen=True, eq=False)
class RankModel:
    """The names at a rank that enough gatherings have, and how to tell them apart.

    Attributes:
        rank: "order", "family", "genus" or "species".
        names: [k] ascending.
        rows: [m] rows of the named specimens of these names.
        labels: [m] places in `names`.
        units: [m] gatherings.
        out_of_fold: probabilities of the rows, from probes fitted on other gatherings.
        probe: fitted on all rows.
        below: wider rank → its name → Bool [k], which names occur below it.
        left_out: number of names that too few gatherings have.
    """

    rank: str
    names: Objects
    rows: Indices
    labels: Indices
    units: Indices
    out_of_fold: OutOfFold
    probe: LinearProbe
    below: Mapping[str, Mapping[str, Mask]]
    left_out: int

    def predict(self, features: Features, rows: Indices) -> Iterator[tuple[slice, Floats]]:
        """Blocks of places in `rows`, and the probabilities of these rows of `features`, [b, k]."""
        return Probabilities(self.probe, features, rows).by_rows()

    def allow(self, given: str, names: Objects) -> Mask:
        """Which names are possible [b, k] for specimens with these names [b] at a wider rank."""
        if given == NOTHING:
            return np.ones((len(names), len(self.names)), dtype=bool)
        none = np.zeros(len(self.names), dtype=bool)
        below = self.below[given]
        return np.stack([below.get(name, none) for name in names]) if len(names) else np.empty((0, len(none)), bool)


def learn_rank(embeddings: Embeddings, rank: str, settings: ProbeTask, seed: int) -> RankModel:
    """Fit the probes of a rank.

    Args:
        embeddings: named specimens; those without a name at this rank are ignored.
        rank: "order", "family", "genus" or "species".
        settings: of the probe. A name needs as many gatherings as there are folds.
        seed: of the folds.

    Raises:
        UnscorableError: fewer than two names have enough gatherings.
    """
    column, units = embeddings.rank(rank), embeddings_units(embeddings)
    rows, labels, counts = select_classes(column, units, settings.folds)
    if counts["classes"] < 2:
        raise UnscorableError(explain_too_few(counts, settings.folds), f"rank {rank!r}", "name more sheets")
    names = np.unique(column[rows].astype(str)).astype(object)
    out_of_fold = predict_out_of_fold(embeddings.take(rows).features, labels, units[rows], settings, seed)
    probe = next(fit_probes_of(embeddings.take(rows).features, labels, [np.arange(len(rows))], settings))
    below = {wider: _list_below(embeddings.rank(wider)[rows], labels, len(names)) for wider in _wider(rank)}
    return RankModel(rank, names, rows, labels, units[rows], out_of_fold, probe, below, counts["classes_left_out"])


def restrict(probabilities: Floats, allowed: Mask) -> Floats:
    """Probabilities [b, k] of the allowed names alone, rows adding up to 1; a row without an allowed name is 0."""
    kept = np.where(allowed, np.maximum(probabilities, 1e-300), 0.0)
    total = kept.sum(axis=1, keepdims=True)
    restricted: Floats = np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
    return restricted


def _wider(rank: str) -> tuple[str, ...]:
    return RANKS[: RANKS.index(rank)]


def _list_below(wider: Objects, labels: Indices, many: int) -> dict[str, Mask]:
    found: dict[str, Mask] = {}
    for name in sorted({name for name in wider if name is not None}):
        found[name] = np.zeros(many, dtype=bool)
        found[name][labels[wider == name]] = True
    return found
