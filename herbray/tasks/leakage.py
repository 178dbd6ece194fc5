"""Leakage: how clearly the representation reveals the herbarium itself (paper, ruler, colour chart, light)."""

from typing import Annotated, Final, Literal, final

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.columns import Labels
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplits
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.folds import deal_folds
from herbray.tasks.methods.probe import ProbeTask, cross_validate
from herbray.tasks.methods.scores import macro_scores
from herbray.tasks.methods.units import count_in_order, embeddings_units

LEVEL = "institution"

_CHUNK: Final = 65_536  # rows whose neighbours are counted at a time


@final
class Leakage(ProbeTask):
    """Predict the institution from the embedding, and count neighbours of the same institution; lower is better.

    For each fold: `scores.macro_scores` of the institution, to be compared with `majority`; and `genus_majority`, the
    accuracy of always naming the institution with most training sheets of the specimen's genus, which is what the flora
    alone reveals.

    At fold -1, for the k nearest sheets of other gatherings: `same_institution`, the share in the specimen's own
    institution; `expected_institution`, the expected share if institutions were permuted among the sheets of each genus
    (computed exactly, not sampled); and `excess`, the difference, which is 0 if the herbarium does not show. Also
    `rows`, `classes`, `classes_left_out`, `rows_left_out`, `rows_undetermined`.

    The outcomes are `accuracy`, `balanced_accuracy` and `excess`.

    Attributes:
        splits: each must contain several institutions; the home institution is never in the herbarium split.
        neighbours: k.
    """

    name: Literal["leakage"] = "leakage"
    splits: PooledSplits = ("herbarium", "herbarium+random")
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score the split; see `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two institutions have at least as many gatherings as there are folds.
        """
        chosen, labels, counts = self._chosen(embeddings, split)
        place = Place(self.name, split, LEVEL)
        with threadpool_limits(limits=self.threads):
            found = self._probe(place, chosen, labels, seed) + self._neighbours(place, chosen, labels)
        return Measurement(place.scores(counts)) + found

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        chosen, institutions, _ = self._chosen(labels, split)
        deal_folds(institutions, embeddings_units(chosen), self.folds, seed)

    def _chosen(self, embeddings: Embeddings, split: str) -> tuple[Embeddings, Indices, dict[str, int]]:
        """The specimens that are scored, their institutions, and the counts of `select_classes`."""
        there = embeddings.select_splits(split)
        rows, labels, counts = select_classes(there.institution, embeddings_units(there), self.folds)
        if counts["classes"] < 2:
            reason = f"{counts['classes']} institutions have {self.folds} or more gatherings; at least two must"
            raise UnscorableError(reason, f"leakage, split {split!r}", "pool several splits")
        return there.take(rows), labels, counts

    def _probe(self, place: Place, chosen: Embeddings, labels: Indices, seed: int) -> Measurement:
        scores, hit, every = [], np.zeros(len(labels), dtype=bool), np.arange(len(labels))
        for fold in cross_validate(chosen.features, labels, embeddings_units(chosen), self, seed):
            train = np.setdiff1d(every, fold.test)
            guess = _majority_of_genus(chosen.genus, labels, train)[fold.test]
            found = macro_scores(labels[fold.test], fold)
            found["genus_majority"] = float((guess == labels[fold.test]).mean())
            scores += place.scores(found, fold.number)
            hit[fold.test] = fold.probabilities.predict() == labels[fold.test]
        share = 1.0 / np.bincount(labels)[labels]
        ids = chosen.specimen_id[:]
        outcomes = place.outcomes("accuracy", ids, hit, lower_is_better=True)
        outcomes += place.outcomes("balanced_accuracy", ids, hit, share, lower_is_better=True)
        return Measurement(scores, outcomes)

    def _neighbours(self, place: Place, chosen: Embeddings, labels: Indices) -> Measurement:
        units = embeddings_units(chosen)
        near = find_all_nearest(np.asarray(chosen.features), units, self.neighbours)
        counts = near.valid.sum(axis=1)
        has_neighbours = counts > 0
        if not has_neighbours.any():
            return Measurement()
        same = ((labels[near.neighbours] == labels[:, None]) & near.valid).sum(axis=1) / np.maximum(counts, 1)
        chance = expected_same_institution(near, genus_codes(chosen.genus), labels, units)
        values = {"same_institution": same, "expected_institution": chance, "excess": same - chance}
        excess = (same - chance)[has_neighbours]
        outcomes = place.outcomes("excess", chosen.specimen_id[has_neighbours], excess, lower_is_better=True)
        return Measurement(
            place.scores({metric: value[has_neighbours].mean() for metric, value in values.items()}), outcomes
        )


def expected_same_institution(near: NearestRows, genera: Indices, institutions: Indices, units: Indices) -> Floats:
    """Expected share of neighbours in a row's institution if institutions were permuted within each genus: [n].

    Each row keeps its institution and its neighbours' genera. The institution of each neighbour is that of a sheet
    drawn from the sheets of the neighbour's genus that could be neighbours, i.e. those of other units. 0 without
    neighbours.

    Args:
        near: the neighbours of all n rows.
        genera: [n] codes.
        institutions: [n] codes.
        units: [n] codes; rows of one unit are never neighbours, see `neighbours.search.find_nearest`.
    """
    kinds, places = int(genera.max()) + 1, int(institutions.max()) + 1
    mine, genus = units.astype(np.int64), genera.astype(np.int64)
    pair, wide = genus * places + institutions, kinds * places
    ordered = [np.sort(codes) for codes in (pair, mine * wide + pair, genus, mine * kinds + genus)]
    chance = np.zeros(len(near.rows))
    for start in range(0, len(chance), _CHUNK):
        part = slice(start, start + _CHUNK)
        kind, valid = genus[near.neighbours[part]], near.valid[part]
        unit, sought = mine[part, None], kind * places + institutions[part, None]
        wanted = (sought, unit * wide + sought, kind, unit * kinds + kind)
        alike, alike_here, every, every_here = map(count_in_order, ordered, wanted)
        others = every - every_here
        share = np.divide(alike - alike_here, others, out=np.zeros(kind.shape), where=valid & (others > 0))
        chance[part] = share.sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
    return chance


def genus_codes(genus: Labels | npt.ArrayLike) -> Indices:
    """A number for the genus of each specimen [n]; specimens without a genus share a number."""
    return Labels.of(genus).codes.astype(np.intp) + 1


def _majority_of_genus(genus: Labels, labels: Indices, train: Indices) -> Indices:
    """For each row [n] the most frequent label among training rows of its genus, or of all if the genus is new."""
    codes = genus_codes(genus)
    votes = np.zeros((int(codes.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(votes, (codes[train], labels[train]), 1)
    overall = np.bincount(labels[train]).argmax()
    best = np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), overall)
    chosen: Indices = best[codes]
    return chosen
