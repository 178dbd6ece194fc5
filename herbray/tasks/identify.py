"""Application 1, taxonomic identification at different scales: how well a linear probe names a specimen."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.base import (
    PAPER_SEED,
    Embeddings,
    PooledSplits,
    UnscorableError,
    hinted,
    once,
)
from herbray.tasks.outcomes import Measured, Place
from herbray.tasks.probe import ProbeTask, cross_validate, macro_scores, usable
from herbray.tasks.units import embeddings_units

Level = Literal["order", "family", "genus", "species", "institution"]


@final
class Identify(ProbeTask):
    """Name specimens at each rank, within one split, by cross-validation (Walker et al. 2022).

    A class in fewer gatherings than folds cannot be cross-validated and is left out; so is a specimen undetermined at
    the rank. Both are counted, at fold -1: `classes` and `rows` that took part, `classes_left_out`, `rows_left_out`,
    `rows_undetermined`. Scores of each fold: see `probe.macro_scores`.

    Attributes:
        ranks: the paper's three by default. "species" may be added, and "institution", which measures
            how far the herbarium itself (paper, ruler, lighting) can be read off the representation.
    """

    parallel_over: ClassVar[str | None] = "ranks"

    name: Literal["identify"] = "identify"
    splits: PooledSplits = ("herbarium", "species", "random")
    ranks: Annotated[tuple[Annotated[Level, hinted(Level)], ...], Field(min_length=1), AfterValidator(once)] = (
        "genus",
        "family",
        "order",
    )

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score each rank; outcomes `accuracy` and `balanced_accuracy`; see `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two classes of a rank lie in as many gatherings as there are folds.
        """
        rows = embeddings.of_split(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measured())

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measured:
        units = embeddings_units(embeddings)
        rows, labels, counts = usable(embeddings.rank(rank), units, self.folds)
        if counts["classes"] < 2:
            raise UnscorableError(
                f"identify, split {split!r}, rank {rank!r}: {counts['classes']} of "
                f"{counts['classes'] + counts['classes_left_out']} classes lie in the {self.folds} gatherings "
                f"that {self.folds} folds need, and at least two must; embed more specimens, lower `folds`, "
                "or leave the rank out"
            )
        place = Place(self.name, split, rank)
        scores = place.scores(counts)
        hit = np.zeros(len(rows), dtype=bool)
        for fold in cross_validate(embeddings.features[rows], labels, units[rows], self, seed):
            scores += place.scores(macro_scores(labels[fold.test], fold, present_only=True), fold.number)
            hit[fold.test] = fold.probabilities.argmax(axis=1) == labels[fold.test]
        return Measured(scores, place.hits(embeddings.specimen_id[rows], hit, labels))
