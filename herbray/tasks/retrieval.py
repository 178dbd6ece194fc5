"""Retrieval: are the most similar sheets of the same genus, family, order? No probe is fitted."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import NearestRows, find_nearest, vote
from herbray.tasks.base import PAPER_SEED, Embeddings, Floats, Indices, PooledSplits, TaskSpec, UnscorableError, hinted
from herbray.tasks.base import once as each_once
from herbray.tasks.methods.probe import usable
from herbray.tasks.methods.units import Integers, embeddings_units, tally
from herbray.tasks.outcomes import Measured, Place

Rank = Literal["order", "family", "genus", "species"]


@final
class Retrieval(TaskSpec):
    """Rank all other sheets of the split by cosine and see which of them bear the same name.

    A sheet of the same gathering is not ranked: a duplicate is found by its label and its press, not by its taxon. A
    query that has no other sheet of its name is not asked, but is ranked for others; a sheet undetermined at the rank
    is neither. For a query let R be the number of sheets of its name among those ranked, and rel(i) be 1 where the
    i-th nearest bears its name, else 0 (Musgrave, Belongie & Lim 2020, arXiv 2003.08505):

        precision at i   P(i) = (rel(1) + … + rel(i)) / i
        `map_at_r`       (1/R) · sum over i = 1 … R of P(i) · rel(i)
        `r_precision`    P(R)
        `recall_at_k`    1 where any of rel(1) … rel(k) is 1, else 0
        `knn_accuracy`   1 where most of the k nearest bear its name; ties go to the nearer ones, summed

    each a mean over queries; at fold -1, with `rows` (queries), `classes`, `majority` (the accuracy of always naming
    the commonest), `rows_left_out` and `rows_undetermined`. Nothing is drawn: any seed gives the same.

    Attributes:
        ranks: at which names are compared.
        k: neighbours that vote in `knn_accuracy`.
        recall_at: the k of each `recall_at_k`.
        threads: of the linear algebra.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["retrieval"] = "retrieval"
    splits: PooledSplits = ("herbarium", "species", "random")
    ranks: Annotated[tuple[Annotated[Rank, hinted(Rank)], ...], Field(min_length=1), AfterValidator(each_once)] = (
        "genus",
        "family",
        "order",
    )
    k: Annotated[int, Field(ge=1, le=1000)] = 5
    recall_at: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1), AfterValidator(each_once)
    ] = (1, 5, 10)
    threads: Annotated[int, Field(ge=1)] = 1

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score each rank; outcomes are all its metrics; see `TaskSpec.measure`.

        Raises:
            UnscorableError: no two sheets of different gatherings bear the same name at a rank, or all bear one name.
        """
        del seed
        rows = embeddings.of_split(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank) for rank in self.ranks), Measured())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        del seed
        rows = labels.of_split(split)
        for rank in self.ranks:
            self._classes(rows, split, rank)

    def _classes(self, embeddings: Embeddings, split: str, rank: str) -> tuple[Indices, Indices, Integers]:
        """The rows that have a name, their classes, and how many partners each has."""
        units = embeddings_units(embeddings)
        rows, codes, counts = usable(embeddings.rank(rank), units, 1)
        where = f"retrieval, split {split!r}, rank {rank!r}"
        if not len(rows):
            raise UnscorableError("no specimen has a name there", where)
        relevant = partners(codes, units[rows])
        if not relevant.any():
            raise UnscorableError("no two sheets of different gatherings bear one name", where, "embed more specimens")
        if counts["classes"] < 2:
            raise UnscorableError("all sheets bear one name, so that every sheet finds its like", where)
        return rows, codes, relevant

    def _rank(self, embeddings: Embeddings, split: str, rank: str) -> Measured:
        rows, codes, relevant = self._classes(embeddings, split, rank)
        named = embeddings.take(rows)
        units = embeddings_units(named)
        asked = relevant > 0
        values = self._values(named, codes, units, relevant)
        place = Place(self.name, split, rank)
        sizes = np.bincount(codes[asked])
        numbers = {"rows": asked.sum(), "classes": (sizes > 0).sum(), "majority": sizes.max() / sizes.sum()}
        numbers |= {"rows_left_out": (~asked).sum(), "rows_undetermined": len(embeddings) - len(rows)}
        means = {metric: value.mean() for metric, value in values.items()}
        ids = named.specimen_id[asked]
        outcomes = [one for metric, value in values.items() for one in place.outcome(metric, ids, value)]
        return Measured(place.scores(numbers | means), outcomes)

    def _values(self, named: Embeddings, codes: Indices, units: Indices, relevant: Integers) -> dict[str, Floats]:
        """Values of each metric, of the rows that have partners, in their order."""
        most = np.maximum(relevant, max(self.k, *self.recall_at))
        blocks, rows = [], []
        for near in find_nearest(named.features, units, most, np.flatnonzero(relevant)):
            blocks.append(self._block(near, codes, relevant))
            rows.append(near.rows)
        order = np.argsort(np.concatenate(rows))
        return {metric: np.concatenate([block[metric] for block in blocks])[order] for metric in blocks[0]}

    def _block(self, near: NearestRows, codes: Indices, relevant: Integers) -> dict[str, Floats]:
        """Values [m] of the rows of a block, each metric."""
        hit = (codes[near.neighbours] == codes[near.rows][:, None]) & near.valid
        place = np.arange(1, hit.shape[1] + 1)
        within = place <= relevant[near.rows][:, None]
        r = relevant[near.rows]
        precision = np.cumsum(hit, axis=1) / place
        values = {
            "knn_accuracy": vote(_cut(near, self.k), codes) == codes[near.rows],
            "map_at_r": (precision * hit * within).sum(axis=1) / r,
            "r_precision": (hit & within).sum(axis=1) / r,
        }
        values |= {f"recall_at_{k}": hit[:, :k].any(axis=1) for k in self.recall_at}
        return {metric: value.astype(np.float64) for metric, value in values.items()}


def partners(codes: Indices, units: Indices) -> Integers:
    """How many rows of its class, but of another unit, each row has: [n]."""
    both = codes.astype(np.int64) * (int(units.max()) + 1 if len(units) else 1) + units
    return tally(codes, codes) - tally(both, both)


def _cut(near: NearestRows, k: int) -> NearestRows:
    return NearestRows(near.rows, near.neighbours[:, :k], near.cosine[:, :k], near.valid[:, :k])
