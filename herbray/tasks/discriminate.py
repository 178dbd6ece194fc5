"""Application 2, discrimination of similar and distinct genera."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.base import PAPER_SEED, Embeddings, Indices, PooledSplits, once
from herbray.tasks.methods.detect import area
from herbray.tasks.methods.pairs import Pair, choose, likeness, members
from herbray.tasks.methods.probe import ProbeTask, binary_scores, cross_validate, dealt
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.outcomes import Measured, Place


@final
class Discriminate(ProbeTask):
    """Tell two genera apart by cross-validation (Walker et al. 2022: Syzygium from Eugenia, and from Dendrobium).

    Accuracy and F1 of two pairs don't compare, since the shares of the genera differ; balanced accuracy and
    AUROC do. Scores of each fold: see `probe.binary_scores`; at fold -1 `rows`, `positives`, `similar` (1 where the
    pair is of that kind, 0 where it is "distinct") and how near the genera are to this encoder, see `pairs.likeness`.

    Attributes:
        pairs: the genera; empty lets `pairs.choose` take them from the labels.
    """

    parallel_over: ClassVar[str | None] = "pairs"
    checked_over: ClassVar[str | None] = "pairs"

    name: Literal["discriminate"] = "discriminate"
    splits: PooledSplits = ("herbarium+species+random",)
    max_iter: Annotated[int, Field(ge=1)] = 2500
    pairs: Annotated[tuple[Pair, ...], AfterValidator(once)] = ()

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score each pair, the level being e.g. "Syzygium–Eugenia"; see `TaskSpec.measure`.

        Outcomes are `accuracy`, `balanced_accuracy` and `auroc`.

        Raises:
            UnscorableError: a genus lies in fewer gatherings than there are folds, or no pair can be chosen.
        """
        rows = embeddings.of_split(split)
        pairs = self.pairs or choose(rows, self.folds)
        with threadpool_limits(limits=self.threads):
            return sum((self._pair(rows, split, pair, seed) for pair in pairs), Measured())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        there = labels.of_split(split)
        for pair in self.pairs or choose(there, self.folds):
            rows, classes = self._members(there, split, pair)
            dealt(classes, embeddings_units(there)[rows], self.folds, seed)

    def _members(self, embeddings: Embeddings, split: str, pair: Pair) -> tuple[Indices, Indices]:
        return members(embeddings, pair, self.folds, f"{self.name}, split {split!r}")

    def _pair(self, embeddings: Embeddings, split: str, pair: Pair, seed: int) -> Measured:
        rows, labels = self._members(embeddings, split, pair)
        place = Place(self.name, split, pair.level)
        scores = place.scores({"rows": len(rows), "positives": labels.sum(), "similar": pair.kind == "similar"})
        scores += place.scores(likeness(embeddings, pair))
        hit, units = np.zeros(len(rows), dtype=bool), embeddings_units(embeddings)[rows]
        value, weight = np.zeros((2, len(rows)))
        for fold in cross_validate(embeddings.features[rows], labels, units, self, seed):
            scores += place.scores(binary_scores(labels[fold.test], fold), fold.number)
            hit[fold.test] = fold.probabilities.argmax(axis=1) == labels[fold.test]
            if len(set(labels[fold.test])) > 1:  # where gatherings are few, a fold may hold one genus alone
                value[fold.test], weight[fold.test] = area(labels[fold.test] == 1, fold.probabilities[:, 1])
        ids = embeddings.specimen_id[rows]
        return Measured(scores, place.hits(ids, hit, labels) + place.outcome("auroc", ids, value, weight))
