"""Detection of real wrong names among all genera, for specimens whose true name is known."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import find_all_nearest
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.columns import Ids, Labels
from herbray.tasks.interface.embeddings import Embeddings, Indices, Mask, Objects, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplits, known_name, refuse_duplicates
from herbray.tasks.methods.classes import explain_too_few, select_classes
from herbray.tasks.methods.detect import (
    Doubt,
    contributions,
    detection_scores,
    doubt_by_method,
    most_doubtful,
    precision_at,
)
from herbray.tasks.methods.folds import deal_folds
from herbray.tasks.methods.probe import ProbeTask, predict_out_of_fold
from herbray.tasks.methods.units import embeddings_units

Rank = Literal["genus", "species"]


@final
class Planted(ProbeTask):
    """Search for the wrong names that a collection really contains, in all genera at once, as a curator would.

    The task needs specimens whose true species is known: synthetic or reviewed ones. Unlike the mislabel task, it swaps
    no names. The three methods of `methods.detect` are scored in the same way. Specimens are left out if their name has
    fewer gatherings than there are folds, or if their true name is not known.

    All scores are at fold -1: `rows`, `wrong`, `chance` (the share of wrong names, which is the precision of a list in
    random order), `rows_left_out`, `converged`; for each method (prefixes as in `detect.METHODS`) the scores of
    `detect.detection_scores` and `precision_at_first`, the share of wrong names among the first `first` of the list.
    All of the latter except `precision` have outcomes.

    Attributes:
        ranks: at which names are compared: a wrong species of the right genus is correct at rank genus.
        first: number of entries that a curator checks; the whole list if it is shorter.
        neighbours: number of neighbours that vote on a name; sheets of the same gathering have no vote.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["planted"] = "planted"
    splits: PooledSplits = ("herbarium+species+random",)
    class_weight: Literal["balanced"] | None = None
    max_iter: Annotated[int, Field(ge=1)] = 2500
    ranks: Annotated[
        tuple[Annotated[Rank, known_name(Rank)], ...], Field(min_length=1), AfterValidator(refuse_duplicates)
    ] = ("genus",)
    first: Annotated[int, Field(ge=1)] = 50
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; see `TaskSpec.measure`.

        Raises:
            UnscorableError: no true name is known, no name is wrong, every name is wrong, or fewer than two names have
                at least as many gatherings as there are folds.
        """
        rows = embeddings.select_splits(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        rows = labels.select_splits(split)
        for rank in self.ranks:
            chosen, given, _ = self._classes(rows, split, rank)
            deal_folds(given, embeddings_units(rows)[chosen], self.folds, seed)

    def _classes(self, embeddings: Embeddings, split: str, rank: str) -> tuple[Indices, Indices, Mask]:
        """The rows that are scored, their classes, and which of them have a wrong name."""
        truth = true_names(embeddings.true_species, rank)
        names = embeddings.rank(rank).copy()
        names[[name is None for name in truth]] = None
        rows, given, counts = select_classes(names, embeddings_units(embeddings), self.folds)
        wrong = np.array(truth[rows] != names[rows], dtype=bool)
        where = f"planted, split {split!r}, rank {rank!r}"
        if all(name is None for name in truth):
            raise UnscorableError(
                "no specimen's true name is known", where, "leave the task out if `true_species` is not known"
            )
        if counts["classes"] < 2:
            raise UnscorableError(explain_too_few(counts, self.folds), where, "embed more specimens or lower `folds`")
        if not wrong.any() or wrong.all():
            reason = (
                f"of {len(rows)} specimens with a known true name, {int(wrong.sum())} have a wrong name; the "
                "task needs specimens with a wrong name and specimens with the true name"
            )
            raise UnscorableError(reason, where)
        return rows, given, wrong

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measurement:
        rows, given, wrong = self._classes(embeddings, split, rank)
        chosen = embeddings.take(rows)
        probabilities = predict_out_of_fold(chosen.features, given, embeddings_units(chosen), self, seed)
        near = find_all_nearest(np.asarray(chosen.features), embeddings_units(chosen), self.neighbours)
        place = Place(self.name, split, rank)
        numbers = {"rows": len(rows), "wrong": wrong.sum(), "chance": wrong.mean()}
        numbers |= {"converged": probabilities.converged}
        found = Measurement(place.scores(numbers | {"rows_left_out": len(embeddings) - len(rows)}))
        for prefix, doubt in doubt_by_method(given, probabilities, near).items():
            found += self._method(place, prefix, chosen.specimen_id, wrong, doubt)
        return found

    def _method(self, place: Place, prefix: str, ids: Ids, wrong: Mask, doubt: Doubt) -> Measurement:
        leading = np.zeros(len(wrong), dtype=bool)
        leading[most_doubtful(doubt, self.first)] = True
        scores = detection_scores(wrong, doubt) | {"precision_at_first": precision_at(wrong, doubt, self.first)}
        outcomes = place.outcomes(prefix + "precision_at_first", ids[:], wrong, leading)
        for name, (value, weight) in contributions(wrong, doubt).items():
            part = weight > 0
            lower = name == "fpr"
            outcomes += place.outcomes(prefix + name, ids[part], value[part], weight[part], lower_is_better=lower)
        return Measurement(place.scores({prefix + name: value for name, value in scores.items()}), outcomes)


def true_names(true_species: Labels, rank: str) -> Objects:
    """The true names [n] at a rank, "genus" or "species"; None where the true name is not known."""
    if rank == "species":
        return true_species.objects()
    return np.array([None if name is None else name.split(" ")[0] for name in true_species], dtype=object)
