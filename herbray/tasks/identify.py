"""Application 1, taxonomic identification at different scales: how well a linear probe names a specimen."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.base import (
    PAPER_SEED,
    Embeddings,
    Indices,
    Objects,
    PooledSplits,
    Score,
    UnscorableError,
    hinted,
    once,
)
from herbray.tasks.probe import ProbeTask, cross_validate, macro_scores

Level = Literal["order", "family", "genus", "species", "institution"]


@final
class Identify(ProbeTask):
    """Name specimens at each rank, within one split, by cross-validation (Walker et al. 2022).

    A class of fewer rows than folds cannot be cross-validated and is left out; so is a specimen undetermined at the
    rank. Both are counted, at fold -1: `classes` and `rows` that took part, `classes_left_out`, `rows_left_out`,
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

    def run(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> list[Score]:
        """Score each rank; see `TaskSpec.run`.

        Raises:
            UnscorableError: fewer than two classes of a rank have as many rows as there are folds.
        """
        rows = embeddings.of_split(split)
        with threadpool_limits(limits=self.threads):
            return [score for rank in self.ranks for score in self._rank(rows, split, rank, seed)]

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> list[Score]:
        rows, labels, counts = usable(embeddings.rank(rank), self.folds)
        if counts["classes"] < 2:
            raise UnscorableError(
                f"identify, split {split!r}, rank {rank!r}: {counts['classes']} of "
                f"{counts['classes'] + counts['classes_left_out']} classes have the {self.folds} rows that "
                f"{self.folds} folds need, and at least two must; embed more specimens, lower `folds`, "
                "or leave the rank out"
            )
        scores = [Score(self.name, split, rank, -1, metric, float(count)) for metric, count in counts.items()]
        for fold in cross_validate(embeddings.features[rows], labels, self, seed):
            for metric, value in macro_scores(labels[fold.test], fold).items():
                scores.append(Score(self.name, split, rank, fold.number, metric, value))
        return scores


def usable(labels: Objects, at_least: int) -> tuple[Indices, Indices, dict[str, int]]:
    """The rows whose class has `at_least` of them.

    Args:
        labels: [n] str, None where undetermined.
        at_least: rows that a class needs.

    Returns:
        The rows [m], ascending; their classes [m] as numbers in alphabetical order; and the counts `classes`, `rows`,
        `classes_left_out`, `rows_left_out` (of small classes), `rows_undetermined`.
    """
    named = np.flatnonzero([label is not None for label in labels])
    names, inverse, sizes = np.unique(labels[named].astype(str), return_inverse=True, return_counts=True)
    kept = sizes >= at_least
    keep = kept[inverse]
    renumber = np.cumsum(kept) - 1
    counts = {
        "classes": int(kept.sum()),
        "rows": int(keep.sum()),
        "classes_left_out": len(names) - int(kept.sum()),
        "rows_left_out": len(named) - int(keep.sum()),
        "rows_undetermined": len(labels) - len(named),
    }
    return named[keep], renumber[inverse[keep]], counts
