"""Transfer: a probe fitted on one split names the specimens of another, like a tool used in a new herbarium."""

from typing import Annotated, ClassVar, Literal, Self, final

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator
from threadpoolctl import threadpool_limits

from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings, Indices, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplit, PooledSplits, known_name, parse_splits, refuse_duplicates
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.probe import LinearTask, fit_and_predict
from herbray.tasks.methods.scores import macro_scores
from herbray.tasks.methods.units import embeddings_units

Rank = Literal["order", "family", "genus", "species"]


@final
class Transfer(LinearTask):
    """Fit the probe of the identify task on one split and test it on another; `split` of a score is the tested split.

    A probe fitted within H can learn the flora and the labels of that herbarium; a probe fitted on R cannot. Tested
    specimens whose name does not occur in the fitted split are left out. All scores are at fold -1:
    `scores.macro_scores` over the tested names, `rows` and `classes` tested, `rows_fitted`, `classes_fitted`,
    `rows_unknown` (names not fitted), `rows_undetermined`. The outcomes are `accuracy` and `balanced_accuracy`. Nothing
    is random: the seed has no effect.

    Attributes:
        fitted_on: the split, or pool of splits, on which the probe is fitted.
        ranks: each rank has its own probe.
        at_least: number of gatherings that a name needs in the fitted split: duplicates of one plant are one example.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["transfer"] = "transfer"
    splits: PooledSplits = ("herbarium",)
    fitted_on: PooledSplit = "random"
    ranks: Annotated[
        tuple[Annotated[Rank, known_name(Rank)], ...], Field(min_length=1), AfterValidator(refuse_duplicates)
    ] = (
        "genus",
        "family",
        "order",
    )
    at_least: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _check_disjoint(self) -> Self:
        for split in self.splits:
            if both := set(parse_splits(split)) & set(parse_splits(self.fitted_on)):
                raise ValueError(
                    f"{', '.join(sorted(both))}: fitted and tested, so the probe would have seen the answers; "
                    "remove the split from `splits` or from `fitted_on`"
                )
        return self

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; see `TaskSpec.measure`.

        Raises:
            UnscorableError: a split is missing, the fitted split has fewer than two names, or none of them is tested.
        """
        del seed
        fitted, tested = embeddings.select_splits(self.fitted_on), embeddings.select_splits(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(fitted, tested, split, rank) for rank in self.ranks), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        del seed
        fitted, tested = labels.select_splits(self.fitted_on), labels.select_splits(split)
        for rank in self.ranks:
            self._classes(fitted, tested, split, rank)

    def _classes(
        self, fitted: Embeddings, tested: Embeddings, split: str, rank: str
    ) -> tuple[Indices, Indices, npt.NDArray[np.str_], Indices]:
        """The fitted rows, their classes, their names, and the tested rows that have one of these names."""
        rows, labels, _ = select_classes(fitted.rank(rank), embeddings_units(fitted), self.at_least)
        names = np.unique(fitted.rank(rank)[rows].astype(str))
        known = np.flatnonzero(tested.rank(rank).isin(names.tolist()))
        if len(names) < 2 or not len(known):
            raise UnscorableError(
                f"{len(names)} names are fitted, and {len(known)} tested specimens have one; two names and one "
                "specimen are needed",
                f"transfer, {self.fitted_on!r} to {split!r}, rank {rank!r}",
            )
        return rows, labels, names, known

    def _rank(self, fitted: Embeddings, tested: Embeddings, split: str, rank: str) -> Measurement:
        rows, labels, names, known = self._classes(fitted, tested, split, rank)
        tested_names = tested.rank(rank)
        undetermined = int((tested_names.codes < 0).sum())
        truth = np.searchsorted(names, tested_names[known].astype(str))
        fold = fit_and_predict(fitted.features, rows, labels, tested.features, known, self)
        place = Place(self.name, split, rank)
        numbers = {"rows": len(known), "classes": len(np.unique(truth)), "rows_undetermined": undetermined}
        numbers |= {"rows_fitted": len(rows), "classes_fitted": len(names)}
        numbers |= {"rows_unknown": len(tested_names) - len(known) - numbers["rows_undetermined"]}
        scores = place.scores(numbers | macro_scores(truth, fold))
        hit = fold.probabilities.predict() == truth
        return Measurement(scores, place.hit_outcomes(tested.specimen_id[known], hit, truth))
