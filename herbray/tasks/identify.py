"""Application 1, taxonomic identification at different scales: how well a linear probe names a specimen."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings, Indices, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplits, known_name, refuse_duplicates
from herbray.tasks.methods.classes import explain_too_few, select_classes
from herbray.tasks.methods.folds import deal_folds
from herbray.tasks.methods.probe import ProbeTask, cross_validate
from herbray.tasks.methods.scores import macro_scores
from herbray.tasks.methods.true_names import true_names
from herbray.tasks.methods.units import embeddings_units

Level = Literal["order", "family", "genus", "species", "institution"]


@final
class Identify(ProbeTask):
    """Name specimens at each rank, within one split, by cross-validation (Walker et al. 2022).

    A class with fewer gatherings than folds cannot be cross-validated and is left out, and so are specimens that are
    undetermined at the rank. The counts are at fold -1: `classes` and `rows` that were scored, `classes_left_out`,
    `rows_left_out`, `rows_undetermined`. For the scores of each fold see `scores.macro_scores`.

    Attributes:
        ranks: by default the three of the paper. "species" may be added, and "institution", which measures how well
            the representation reveals the herbarium itself (paper, ruler, lighting).
        names: "filed" as they are; "true" learns and scores the names of `true_species`, at rank genus or species, for
            specimens whose true name is known.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["identify"] = "identify"
    splits: PooledSplits = ("herbarium", "species", "random")
    ranks: Annotated[
        tuple[Annotated[Level, known_name(Level)], ...], Field(min_length=1), AfterValidator(refuse_duplicates)
    ] = (
        "genus",
        "family",
        "order",
    )
    names: Literal["filed", "true"] = "filed"

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; the outcomes are `accuracy` and `balanced_accuracy`. See `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two classes of a rank have at least as many gatherings as there are folds.
        """
        rows = embeddings.select_splits(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        rows = labels.select_splits(split)
        for rank in self.ranks:
            _, classes, units, _ = self._classes(rows, split, rank)
            deal_folds(classes, units, self.folds, seed)

    def _classes(
        self, embeddings: Embeddings, split: str, rank: str
    ) -> tuple[Indices, Indices, Indices, dict[str, int]]:
        """The rows that are scored, their classes and units, and the counts of `select_classes`."""
        units = embeddings_units(embeddings)
        if self.names == "true" and rank not in ("genus", "species"):
            raise UnscorableError(f"no true name is known at rank {rank}", "identify", "choose ranks=[genus]")
        labels = true_names(embeddings.true_species, rank) if self.names == "true" else embeddings.rank(rank)
        rows, classes, counts = select_classes(labels, units, self.folds)
        if counts["classes"] < 2:
            where, way_out = f"identify, split {split!r}, rank {rank!r}", "embed more specimens or lower `folds`"
            raise UnscorableError(explain_too_few(counts, self.folds), where, way_out)
        return rows, classes, units[rows], counts

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measurement:
        rows, labels, units, counts = self._classes(embeddings, split, rank)
        place = Place(self.name, split, f"true {rank}" if self.names == "true" else rank)
        scores = place.scores(counts)
        hit = np.zeros(len(rows), dtype=bool)
        for fold in cross_validate(embeddings.take(rows).features, labels, units, self, seed):
            scores += place.scores(macro_scores(labels[fold.test], fold), fold.number)
            hit[fold.test] = fold.probabilities.predict() == labels[fold.test]
        return Measurement(scores, place.hit_outcomes(embeddings.specimen_id[rows], hit, labels))
