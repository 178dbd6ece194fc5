"""Application 2, discrimination of similar and distinct genera."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings, Indices
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplits, refuse_duplicates
from herbray.tasks.methods.detect import auroc_contributions
from herbray.tasks.methods.folds import deal_folds
from herbray.tasks.methods.pairs import Pair, choose_pairs, measure_similarity, select_pair
from herbray.tasks.methods.probe import ProbeTask, cross_validate
from herbray.tasks.methods.scores import binary_scores
from herbray.tasks.methods.units import embeddings_units


@final
class Discriminate(ProbeTask):
    """Tell two genera apart by cross-validation (Walker et al. 2022: Syzygium from Eugenia, and from Dendrobium).

    Accuracy and F1 are not comparable across pairs, because the class shares differ; balanced accuracy and AUROC are.
    For the scores of each fold see `scores.binary_scores`. At fold -1: `rows`, `positives`, `similar` (1 if the
    pair is "similar", 0 if "distinct"), and how close the genera are in the representation, see
    `pairs.measure_similarity`.

    Attributes:
        pairs: the genera; if empty, `pairs.choose_pairs` takes them from the labels.
    """

    parallel_over: ClassVar[str | None] = "pairs"
    checked_over: ClassVar[str | None] = "pairs"

    name: Literal["discriminate"] = "discriminate"
    splits: PooledSplits = ("herbarium+species+random",)
    max_iter: Annotated[int, Field(ge=1)] = 2500
    pairs: Annotated[tuple[Pair, ...], AfterValidator(refuse_duplicates)] = ()

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each pair; the level is e.g. "Syzygium–Eugenia". See `TaskSpec.measure`.

        The outcomes are `accuracy`, `balanced_accuracy` and `auroc`.

        Raises:
            UnscorableError: a genus has fewer gatherings than there are folds, or no pair can be chosen.
        """
        rows = embeddings.select_splits(split)
        pairs = self.pairs or choose_pairs(rows, self.folds)
        with threadpool_limits(limits=self.threads):
            return sum((self._pair(rows, split, pair, seed) for pair in pairs), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        there = labels.select_splits(split)
        for pair in self.pairs or choose_pairs(there, self.folds):
            rows, classes = self._members(there, split, pair)
            deal_folds(classes, embeddings_units(there)[rows], self.folds, seed)

    def _members(self, embeddings: Embeddings, split: str, pair: Pair) -> tuple[Indices, Indices]:
        return select_pair(embeddings, pair, self.folds, f"{self.name}, split {split!r}")

    def _pair(self, embeddings: Embeddings, split: str, pair: Pair, seed: int) -> Measurement:
        rows, labels = self._members(embeddings, split, pair)
        place = Place(self.name, split, pair.level)
        scores = place.scores({"rows": len(rows), "positives": labels.sum(), "similar": pair.kind == "similar"})
        scores += place.scores(measure_similarity(embeddings, pair))
        hit, units = np.zeros(len(rows), dtype=bool), embeddings_units(embeddings)[rows]
        value, weight = np.zeros((2, len(rows)))
        for fold in cross_validate(embeddings.take(rows).features, labels, units, self, seed):
            scores += place.scores(binary_scores(labels[fold.test], fold), fold.number)
            probabilities = fold.probabilities.dense()
            hit[fold.test] = probabilities.argmax(axis=1) == labels[fold.test]
            if len(set(labels[fold.test])) > 1:  # with few gatherings, a fold may contain only one genus
                value[fold.test], weight[fold.test] = auroc_contributions(labels[fold.test] == 1, probabilities[:, 1])
        ids = embeddings.specimen_id[rows]
        return Measurement(scores, place.hit_outcomes(ids, hit, labels) + place.outcomes("auroc", ids, value, weight))
