"""Silhouettes: do the names of a rank form clusters in the representation?"""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from sklearn.metrics import silhouette_samples
from threadpoolctl import threadpool_limits

from herbray.tasks.base import PAPER_SEED, Embeddings, PooledSplits, TaskSpec, UnscorableError, hinted, once
from herbray.tasks.outcomes import Measured, Place
from herbray.tasks.probe import usable

Rank = Literal["order", "family", "genus", "species", "institution"]


@final
class Silhouette(TaskSpec):
    """Silhouette coefficient of each rank, by cosine and by Euclidean distance.

    Of a specimen (Rousseeuw 1987, doi 10.1016/0377-0427(87)90125-7): a its mean distance to others of its
    name, b the lowest mean distance to those of another name, (b - a) / max(a, b); in [-1, 1]. The score is the mean
    over specimens. A name borne once in the sample is left out. At fold -1: `cosine`, `euclidean`, `rows`, `classes`,
    `rows_left_out` (of such names, or not drawn), `rows_undetermined`.

    Attributes:
        ranks: whose names are taken for clusters.
        most: specimens that are looked at; of more, a seeded sample. Time grows with its square.
        threads: of the linear algebra.
    """

    parallel_over: ClassVar[str | None] = "ranks"

    name: Literal["silhouette"] = "silhouette"
    splits: PooledSplits = ("herbarium", "species", "random")
    ranks: Annotated[tuple[Annotated[Rank, hinted(Rank)], ...], Field(min_length=1), AfterValidator(once)] = (
        "genus",
        "family",
        "order",
    )
    most: Annotated[int, Field(ge=3)] = 5000
    threads: Annotated[int, Field(ge=1)] = 1

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score each rank; outcomes are both metrics; see `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two names of a rank are borne by two specimens.
        """
        rows = embeddings.of_split(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measured())

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measured:
        names = embeddings.rank(rank)
        named = np.flatnonzero([name is not None for name in names])
        if len(named) > self.most:
            named = np.sort(np.random.default_rng(seed).choice(named, self.most, replace=False))
        kept, codes, counts = usable(names[named], 2)
        rows = named[kept]
        if counts["classes"] < 2:
            raise UnscorableError(
                f"silhouette, split {split!r}, rank {rank!r}: {counts['classes']} names are borne by two specimens or "
                "more, and two must be; embed more specimens or leave the rank out"
            )
        place = Place(self.name, split, rank)
        undetermined = sum(name is None for name in names)
        numbers = {"rows": len(rows), "classes": counts["classes"], "rows_undetermined": undetermined}
        found = Measured(place.scores(numbers | {"rows_left_out": len(names) - undetermined - len(rows)}))
        for metric in ("cosine", "euclidean"):
            values = silhouette_samples(embeddings.features[rows].astype(np.float64), codes, metric=metric)
            outcomes = place.outcome(metric, embeddings.specimen_id[rows], values)
            found += Measured(place.scores({metric: float(values.mean())}), outcomes)
        return found
