"""Leakage: how far the herbarium itself (paper, ruler, colour chart, light) shows in the representation."""

from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.base import PAPER_SEED, Embeddings, Floats, Indices, Objects, PooledSplits, UnscorableError
from herbray.tasks.methods.probe import ProbeTask, cross_validate, dealt, macro_scores, usable
from herbray.tasks.methods.units import embeddings_units, tally
from herbray.tasks.outcomes import Measured, Place

LEVEL = "institution"


@final
class Leakage(ProbeTask):
    """Read the institution off the embedding, and count neighbours of the own institution; less is better.

    Of each fold: `probe.macro_scores` of the institution, against `majority`; and `genus_majority`, the accuracy of
    naming the institution that holds most training sheets of the specimen's genus: what the flora alone betrays.

    At fold -1, of the k nearest sheets of other gatherings: `same_institution`, their share that lies in the own
    institution; `expected_institution`, the same if institutions were permuted among the sheets of each genus, exact
    and not drawn; and `excess`, the difference: 0 where the herbarium does not show. With it `rows`, `classes`,
    `classes_left_out`, `rows_left_out`, `rows_undetermined`.

    Outcomes are `accuracy`, `balanced_accuracy` and `excess`.

    Attributes:
        splits: of several institutions each; the home institution is in no herbarium split.
        neighbours: k.
    """

    name: Literal["leakage"] = "leakage"
    splits: PooledSplits = ("herbarium", "herbarium+random")
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score the split; see `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two institutions hold as many gatherings as there are folds.
        """
        chosen, labels, counts = self._chosen(embeddings, split)
        place = Place(self.name, split, LEVEL)
        with threadpool_limits(limits=self.threads):
            found = self._probe(place, chosen, labels, seed) + self._neighbours(place, chosen, labels)
        return Measured(place.scores(counts)) + found

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        chosen, institutions, _ = self._chosen(labels, split)
        dealt(institutions, embeddings_units(chosen), self.folds, seed)

    def _chosen(self, embeddings: Embeddings, split: str) -> tuple[Embeddings, Indices, dict[str, int]]:
        """What takes part, its institutions, and the counts of `usable`."""
        there = embeddings.of_split(split)
        rows, labels, counts = usable(there.institution, embeddings_units(there), self.folds)
        if counts["classes"] < 2:
            reason = f"{counts['classes']} institutions hold {self.folds} gatherings or more, and two must"
            raise UnscorableError(reason, f"leakage, split {split!r}", "pool splits")
        return there.take(rows), labels, counts

    def _probe(self, place: Place, chosen: Embeddings, labels: Indices, seed: int) -> Measured:
        scores, hit, every = [], np.zeros(len(labels), dtype=bool), np.arange(len(labels))
        for fold in cross_validate(chosen.features, labels, embeddings_units(chosen), self, seed):
            train = np.setdiff1d(every, fold.test)
            guess = _commonest(chosen.genus, labels, train)[fold.test]
            found = macro_scores(labels[fold.test], fold, present_only=True)
            found["genus_majority"] = float((guess == labels[fold.test]).mean())
            scores += place.scores(found, fold.number)
            hit[fold.test] = fold.probabilities.argmax(axis=1) == labels[fold.test]
        share = 1.0 / np.bincount(labels)[labels]
        ids = chosen.specimen_id
        outcomes = place.outcome("accuracy", ids, hit, lower_is_better=True)
        outcomes += place.outcome("balanced_accuracy", ids, hit, share, lower_is_better=True)
        return Measured(scores, outcomes)

    def _neighbours(self, place: Place, chosen: Embeddings, labels: Indices) -> Measured:
        units = embeddings_units(chosen)
        near = find_all_nearest(chosen.features, units, self.neighbours)
        there = near.valid.sum(axis=1)
        asked = there > 0
        if not asked.any():
            return Measured()
        same = ((labels[near.neighbours] == labels[:, None]) & near.valid).sum(axis=1) / np.maximum(there, 1)
        chance = expected(near, genus_codes(chosen.genus), labels, units)
        values = {"same_institution": same, "expected_institution": chance, "excess": same - chance}
        excess = (same - chance)[asked]
        outcomes = place.outcome("excess", chosen.specimen_id[asked], excess, lower_is_better=True)
        return Measured(place.scores({metric: value[asked].mean() for metric, value in values.items()}), outcomes)


def expected(near: NearestRows, genera: Indices, institutions: Indices, units: Indices) -> Floats:
    """Expected share of neighbours of a row's institution, if institutions were permuted within each genus: [n].

    A row keeps its own institution and its neighbours' genera; each neighbour's institution is then that of a sheet
    drawn from those of its genus that could have been neighbours, that is, of other units. 0 without neighbours.

    Args:
        near: the neighbours of all n rows.
        genera: [n] codes.
        institutions: [n] codes.
        units: [n] what could not be a neighbour, see `find_nearest`.
    """
    kinds, places = int(genera.max()) + 1, int(institutions.max()) + 1
    genus = genera[near.neighbours].astype(np.int64)
    own = np.broadcast_to(institutions[:, None], genus.shape)
    unit = np.broadcast_to(units[:, None], genus.shape).astype(np.int64)
    pair, asked = genera.astype(np.int64) * places + institutions, genus * places + own
    mine, wide = units.astype(np.int64), kinds * places
    alike = tally(pair, asked) - tally(mine * wide + pair, unit * wide + asked)
    all_of = tally(genera.astype(np.int64), genus) - tally(mine * kinds + genera, unit * kinds + genus)
    share = np.divide(alike, all_of, out=np.zeros(genus.shape), where=near.valid & (all_of > 0))
    chance: Floats = share.sum(axis=1) / np.maximum(near.valid.sum(axis=1), 1)
    return chance


def genus_codes(genus: Objects) -> Indices:
    """A number for each genus [n]; specimens without one share a number."""
    return np.unique(np.array(["" if name is None else name for name in genus]), return_inverse=True)[1]


def _commonest(genus: Objects, labels: Indices, train: Indices) -> Indices:
    """For each row [n] the label that most training rows of its genus bear; of all, where the genus is new."""
    codes = genus_codes(genus)
    votes = np.zeros((int(codes.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(votes, (codes[train], labels[train]), 1)
    overall = np.bincount(labels[train]).argmax()
    best = np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), overall)
    chosen: Indices = best[codes]
    return chosen
