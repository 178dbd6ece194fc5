"""Silhouettes: do the names of a rank form clusters in the representation?"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal, final

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from herbray.tasks.base import PAPER_SEED, TaskSpec
from herbray.tasks.embeddings import Embeddings, Floats, Indices, UnscorableError
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.outcomes import Measurement, Place
from herbray.tasks.validators import PooledSplits, known_name, refuse_duplicates

Features = npt.NDArray[np.float32]

_CELLS: Final = 2**22  # distances held at a time: 32 MB
_ROWS: Final = 2**14  # features made float64 at a time

Rank = Literal["order", "family", "genus", "species", "institution"]


@final
class Silhouette(TaskSpec):
    """Silhouette coefficient of each rank, by cosine and by Euclidean distance.

    Of a specimen (Rousseeuw 1987, doi 10.1016/0377-0427(87)90125-7): a its mean distance to others of its
    name, b the lowest mean distance to those of another name, (b - a) / max(a, b); in [-1, 1]. The score is the mean
    over specimens. A name of one gathering is left out: its sheets are one plant. At fold -1: `cosine`, `euclidean`,
    `rows` (that were asked), `classes`, `rows_left_out` (of such names, or not asked), `rows_undetermined`.

    Attributes:
        ranks: whose names are taken for clusters.
        most: specimens that are asked; of more, a seeded sample. Each is asked about all specimens, so that the score
            does not depend on it but for the draw; time grows with `most` times their number.
        threads: of the linear algebra.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["silhouette"] = "silhouette"
    splits: PooledSplits = ("herbarium", "species", "random")
    ranks: Annotated[
        tuple[Annotated[Rank, known_name(Rank)], ...], Field(min_length=1), AfterValidator(refuse_duplicates)
    ] = (
        "genus",
        "family",
        "order",
    )
    most: Annotated[int, Field(ge=3)] = 5000
    threads: Annotated[int, Field(ge=1)] = 1

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; outcomes are both metrics; see `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two names of a rank lie in two gatherings.
        """
        rows = embeddings.select_splits(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        del seed
        rows = labels.select_splits(split)
        for rank in self.ranks:
            self._classes(rows, split, rank)

    def _classes(self, embeddings: Embeddings, split: str, rank: str) -> tuple[Indices, Indices, dict[str, int]]:
        """The rows that take part, their classes, and the counts of `usable`."""
        rows, codes, counts = select_classes(embeddings.rank(rank), embeddings_units(embeddings), 2)
        if counts["classes"] < 2:
            reason = f"{counts['classes']} names lie in two gatherings or more, and two must"
            raise UnscorableError(reason, f"silhouette, split {split!r}, rank {rank!r}", "embed more specimens")
        return rows, codes, counts

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measurement:
        rows, codes, counts = self._classes(embeddings, split, rank)
        place = Place(self.name, split, rank)
        asked = np.arange(len(rows))
        if len(rows) > self.most:
            asked = np.sort(np.random.default_rng(seed).choice(asked, self.most, replace=False))
        undetermined = counts["rows_undetermined"]
        numbers = {"rows": len(asked), "classes": counts["classes"], "rows_undetermined": undetermined}
        found = Measurement(place.scores(numbers | {"rows_left_out": len(embeddings) - undetermined - len(asked)}))
        for metric, summed in (("cosine", _cosine_sums), ("euclidean", _euclidean_sums)):
            values = _coefficients(summed(embeddings.features[rows], codes, asked), codes, asked)
            outcomes = place.outcomes(metric, embeddings.specimen_id[rows][asked], values)
            found += Measurement(place.scores({metric: float(values.mean())}), outcomes)
        return found


def _coefficients(sums: Floats, codes: Indices, asked: Indices) -> Floats:
    """Silhouettes [q] of the rows asked, from the sums of their distances to each name's specimens [q, k]."""
    sizes = np.bincount(codes)
    every, own = np.arange(len(asked)), codes[asked]
    inside = sums[every, own] / (sizes[own] - 1)
    means = sums / sizes
    means[every, own] = np.inf
    outside = means.min(axis=1)
    most = np.maximum(inside, outside)
    values: Floats = np.divide(outside - inside, most, out=np.zeros(len(asked)), where=most > 0)
    return values


def _cosine_sums(features: Features, codes: Indices, asked: Indices) -> Floats:
    """Sums of cosine distances to each name's specimens [q, k]: they follow from the sums of the unit vectors."""
    sums = np.zeros((int(codes.max()) + 1, features.shape[1]))
    for part in _slices(len(features), _ROWS):
        np.add.at(sums, codes[part], normalize(features[part].astype(np.float64)))
    points = normalize(features[asked].astype(np.float64))
    distances: Floats = np.bincount(codes) - points @ sums.T
    distances[np.arange(len(asked)), codes[asked]] -= 1.0 - (points**2).sum(axis=1)  # of a row of zeros to itself
    positive: Floats = np.maximum(distances, 0.0)  # rows that are all alike: no more than rounding is left
    return positive


def _euclidean_sums(features: Features, codes: Indices, asked: Indices) -> Floats:
    """Sums of Euclidean distances to each name's specimens [q, k], a block of these at a time."""
    points = features[asked].astype(np.float64)
    order = np.argsort(codes, kind="stable")
    sums = np.zeros((len(asked), int(codes.max()) + 1))
    for part in _slices(len(order), max(1, _CELLS // len(asked))):
        names, starts = np.unique(codes[order[part]], return_index=True)
        distances = euclidean_distances(points, features[order[part]].astype(np.float64))
        sums[:, names] += np.add.reduceat(distances, starts, axis=1)
    return sums


def _slices(rows: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, rows, step))
