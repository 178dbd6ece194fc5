"""Real wrong names, where the truth of each determination is known: are they found among all genera?"""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import find_all_nearest
from herbray.tasks.base import (
    PAPER_SEED,
    Embeddings,
    Indices,
    Mask,
    Objects,
    PooledSplits,
    UnscorableError,
    hinted,
    once,
)
from herbray.tasks.methods.detect import Doubt, contributions, detection_scores, every_doubt, first, precision_at
from herbray.tasks.methods.probe import ProbeTask, dealt, out_of_fold, too_few, usable
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.outcomes import Measured, Place

Rank = Literal["genus", "species"]


@final
class Planted(ProbeTask):
    """Look for the wrong names that a collection really holds, all genera at once, as a curator would.

    It needs specimens whose true species is known: the synthetic herbarium's, or reviewed ones. Unlike the mislabel
    task it swaps nothing. The three methods of `detect` are scored alike; a specimen whose name lies
    in fewer gatherings than there are folds, or whose truth is not known, takes no part.

    All scores are at fold -1: `rows`, `wrong`, `chance` (the share of wrong names: the precision of a list in random
    order), `rows_left_out`, `converged`; of each method (prefixes as in `detect.METHODS`) those of
    `detect.detection_scores`, and `precision_at_first`: the share of wrong names among the `first` on the list.
    Outcomes are the same but `precision`.

    Attributes:
        ranks: at which a name is wrong: a wrong species of the right genus is right at rank genus.
        first: how far down the list a curator looks; the whole list where it is shorter.
        neighbours: how many vote on a name; sheets of the own gathering have no vote.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["planted"] = "planted"
    splits: PooledSplits = ("herbarium+species+random",)
    class_weight: Literal["balanced"] | None = None
    max_iter: Annotated[int, Field(ge=1)] = 2500
    ranks: Annotated[tuple[Annotated[Rank, hinted(Rank)], ...], Field(min_length=1), AfterValidator(once)] = ("genus",)
    first: Annotated[int, Field(ge=1)] = 50
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score each rank; see `TaskSpec.measure`.

        Raises:
            UnscorableError: no truth is known, no name is wrong, every name is, or fewer than two names lie in as many
                gatherings as there are folds.
        """
        rows = embeddings.of_split(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measured())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        rows = labels.of_split(split)
        for rank in self.ranks:
            chosen, given, _ = self._classes(rows, split, rank)
            dealt(given, embeddings_units(rows)[chosen], self.folds, seed)

    def _classes(self, embeddings: Embeddings, split: str, rank: str) -> tuple[Indices, Indices, Mask]:
        """The rows that take part, their classes, and which of them bear a wrong name."""
        truth = true_names(embeddings.true_species, rank)
        names = embeddings.rank(rank).copy()
        names[[name is None for name in truth]] = None
        rows, given, counts = usable(names, embeddings_units(embeddings), self.folds)
        wrong = (truth[rows] != names[rows]).astype(bool)
        where = f"planted, split {split!r}, rank {rank!r}"
        if all(name is None for name in truth):
            raise UnscorableError(
                "no specimen's true name is known", where, "Leave the task out where `true_species` is not known"
            )
        if counts["classes"] < 2:
            raise UnscorableError(too_few(counts, self.folds), where, "embed more specimens or lower `folds`")
        if not wrong.any() or wrong.all():
            reason = (
                f"of {len(rows)} specimens with a known truth {int(wrong.sum())} bear a wrong name; some must, not all"
            )
            raise UnscorableError(reason, where)
        return rows, given, wrong

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measured:
        rows, given, wrong = self._classes(embeddings, split, rank)
        chosen = embeddings.take(rows)
        probabilities, converged = out_of_fold(chosen.features, given, embeddings_units(chosen), self, seed)
        near = find_all_nearest(chosen.features, embeddings_units(chosen), self.neighbours)
        place = Place(self.name, split, rank)
        numbers = {"rows": len(rows), "wrong": wrong.sum(), "chance": wrong.mean(), "converged": converged}
        found = Measured(place.scores(numbers | {"rows_left_out": len(embeddings) - len(rows)}))
        for prefix, doubt in every_doubt(given, probabilities, near).items():
            found += self._method(place, prefix, chosen.specimen_id, wrong, doubt)
        return found

    def _method(self, place: Place, prefix: str, ids: Objects, wrong: Mask, doubt: Doubt) -> Measured:
        leading = np.zeros(len(wrong), dtype=bool)
        leading[first(doubt, self.first)] = True
        scores = detection_scores(wrong, doubt) | {"precision_at_first": precision_at(wrong, doubt, self.first)}
        outcomes = place.outcome(prefix + "precision_at_first", ids, wrong, leading)
        for name, (value, weight) in contributions(wrong, doubt).items():
            part = weight > 0
            lower = name == "fpr"
            outcomes += place.outcome(prefix + name, ids[part], value[part], weight[part], lower_is_better=lower)
        return Measured(place.scores({prefix + name: value for name, value in scores.items()}), outcomes)


def true_names(true_species: Objects, rank: str) -> Objects:
    """The true names [n] at a rank, "genus" or "species"; None where the truth is not known."""
    if rank == "species":
        return true_species
    return np.array([None if name is None else name.split(" ")[0] for name in true_species], dtype=object)
