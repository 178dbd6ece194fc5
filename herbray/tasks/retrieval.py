"""Retrieval: do the most similar sheets have the same genus, family, order? No probe is fitted."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import NearestRows, find_nearest
from herbray.neighbours.voting import vote
from herbray.tasks.interface.base import PAPER_SEED, TaskSpec
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplits, known_name
from herbray.tasks.interface.validators import refuse_duplicates as each_once
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.units import Integers, embeddings_units, tally

Rank = Literal["order", "family", "genus", "species"]


@final
class Retrieval(TaskSpec):
    """Rank all other sheets of the split by cosine similarity and check which of them have the same name.

    Sheets of the query's own gathering are not ranked: duplicates are found by their label and pressing, not by their
    taxon. A sheet that is the only one of its name is not a query, but is ranked for others; a sheet that is
    undetermined at the rank is neither. For a query, let R be the number of ranked sheets that have its name, and
    rel(i) be 1 if the i-th nearest sheet has its name, else 0 (Musgrave, Belongie & Lim 2020, arXiv 2003.08505):

        precision at i   P(i) = (rel(1) + … + rel(i)) / i
        `map_at_r`       (1/R) · sum over i = 1 … R of P(i) · rel(i)
        `r_precision`    P(R)
        `recall_at_k`    1 if any of rel(1) … rel(k) is 1, else 0
        `knn_accuracy`   1 if most of the k nearest have its name; ties go to the name with the larger summed similarity

    Scores are means over queries at fold -1, with `rows` (queries), `classes`, `majority` (the accuracy of always
    naming the most frequent name), `rows_left_out` and `rows_undetermined`. Nothing is random: the seed has no effect.

    Attributes:
        ranks: at which names are compared.
        k: number of neighbours that vote in `knn_accuracy`.
        recall_at: the values of k for `recall_at_k`.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["retrieval"] = "retrieval"
    splits: PooledSplits = ("herbarium", "species", "random")
    ranks: Annotated[tuple[Annotated[Rank, known_name(Rank)], ...], Field(min_length=1), AfterValidator(each_once)] = (
        "genus",
        "family",
        "order",
    )
    k: Annotated[int, Field(ge=1, le=1000)] = 5
    recall_at: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1), AfterValidator(each_once)
    ] = (1, 5, 10)

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; every metric has an outcome. See `TaskSpec.measure`.

        Raises:
            UnscorableError: no two sheets of different gatherings have the same name at a rank, or all sheets do.
        """
        del seed
        rows = embeddings.select_splits(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank) for rank in self.ranks), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        del seed
        rows = labels.select_splits(split)
        for rank in self.ranks:
            self._classes(rows, split, rank)

    def _classes(self, embeddings: Embeddings, split: str, rank: str) -> tuple[Indices, Indices, Integers]:
        """The rows that have a name, their classes, and the number of partners of each (see `count_partners`)."""
        units = embeddings_units(embeddings)
        rows, codes, counts = select_classes(embeddings.rank(rank), units, 1)
        where = f"retrieval, split {split!r}, rank {rank!r}"
        if not len(rows):
            raise UnscorableError("no specimen has a name at this rank", where)
        relevant = count_partners(codes, units[rows])
        if not relevant.any():
            raise UnscorableError(
                "no two sheets of different gatherings have the same name", where, "embed more specimens"
            )
        if counts["classes"] < 2:
            raise UnscorableError("all sheets have the same name, so that every sheet is a match", where)
        return rows, codes, relevant

    def _rank(self, embeddings: Embeddings, split: str, rank: str) -> Measurement:
        rows, codes, relevant = self._classes(embeddings, split, rank)
        named = embeddings.take(rows)
        units = embeddings_units(named)
        queries = relevant > 0
        values = self._values(named, codes, units, relevant)
        place = Place(self.name, split, rank)
        sizes = np.bincount(codes[queries])
        numbers = {"rows": queries.sum(), "classes": (sizes > 0).sum(), "majority": sizes.max() / sizes.sum()}
        numbers |= {"rows_left_out": (~queries).sum(), "rows_undetermined": len(embeddings) - len(rows)}
        means = {metric: value.mean() for metric, value in values.items()}
        ids = named.specimen_id[queries]
        outcomes = [one for metric, value in values.items() for one in place.outcomes(metric, ids, value)]
        return Measurement(place.scores(numbers | means), outcomes)

    def _values(self, named: Embeddings, codes: Indices, units: Indices, relevant: Integers) -> dict[str, Floats]:
        """Values of each metric for the rows that have partners, in row order."""
        most = np.maximum(relevant, max(self.k, *self.recall_at))
        blocks, rows = [], []
        for near in find_nearest(np.asarray(named.features), units, most, np.flatnonzero(relevant)):
            blocks.append(self._block(near, codes, relevant))
            rows.append(near.rows)
        order = np.argsort(np.concatenate(rows))
        return {metric: np.concatenate([block[metric] for block in blocks])[order] for metric in blocks[0]}

    def _block(self, near: NearestRows, codes: Indices, relevant: Integers) -> dict[str, Floats]:
        """Values [m] of each metric for the rows of a block."""
        hit = (codes[near.neighbours] == codes[near.rows][:, None]) & near.valid
        place = np.arange(1, hit.shape[1] + 1)
        within = place <= relevant[near.rows][:, None]
        r = relevant[near.rows]
        precision = np.cumsum(hit, axis=1) / place
        values = {
            "knn_accuracy": vote(_keep_nearest(near, self.k), codes) == codes[near.rows],
            "map_at_r": (precision * hit * within).sum(axis=1) / r,
            "r_precision": (hit & within).sum(axis=1) / r,
        }
        values |= {f"recall_at_{k}": hit[:, :k].any(axis=1) for k in self.recall_at}
        return {metric: value.astype(np.float64) for metric, value in values.items()}


def count_partners(codes: Indices, units: Indices) -> Integers:
    """The number of rows of the same class in other units, for each row: [n]."""
    both = codes.astype(np.int64) * (int(units.max()) + 1 if len(units) else 1) + units
    return tally(codes, codes) - tally(both, both)


def _keep_nearest(near: NearestRows, k: int) -> NearestRows:
    return NearestRows(near.rows, near.neighbours[:, :k], near.cosine[:, :k], near.valid[:, :k])
