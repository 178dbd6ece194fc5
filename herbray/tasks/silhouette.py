"""Silhouettes: do the names of a rank form clusters in the representation?"""

from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Final, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from herbray.tasks.interface.base import PAPER_SEED, TaskSpec
from herbray.tasks.interface.embeddings import Embeddings, Features, Floats, Indices, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place
from herbray.tasks.interface.validators import PooledSplits, known_name, refuse_duplicates
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.units import embeddings_units

_CELLS: Final = 2**22  # distances in memory at a time: 32 MB
_ROWS: Final = 2**14  # rows converted to float64 at a time

Rank = Literal["order", "family", "genus", "species", "institution"]


@final
class Silhouette(TaskSpec):
    """Silhouette coefficient of each rank, by cosine and by Euclidean distance.

    The coefficient of a specimen is (b - a) / max(a, b), in [-1, 1], where a is the mean distance to other specimens of
    its name and b the lowest mean distance to the specimens of another name (Rousseeuw 1987,
    doi 10.1016/0377-0427(87)90125-7). The score is the mean over specimens. Names with a single gathering are left out,
    because their sheets are one plant. At fold -1: `cosine`, `euclidean`, `rows` (specimens scored), `classes`,
    `rows_left_out` (of names left out, or not sampled), `rows_undetermined`.

    Attributes:
        ranks: ranks whose names are treated as clusters.
        most: maximum number of specimens to score; if there are more, a seeded sample is scored. Each is compared with
            all specimens, so a smaller `most` adds sampling noise but no bias. Time is proportional to `most` times the
            number of specimens.
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

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; both metrics have an outcome. See `TaskSpec.measure`.

        Raises:
            UnscorableError: fewer than two names of a rank have at least two gatherings.
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
        """The rows that can be scored, their classes, and the counts of `select_classes`."""
        rows, codes, counts = select_classes(embeddings.rank(rank), embeddings_units(embeddings), 2)
        if counts["classes"] < 2:
            reason = f"{counts['classes']} names have two or more gatherings; at least two must"
            raise UnscorableError(reason, f"silhouette, split {split!r}, rank {rank!r}", "embed more specimens")
        return rows, codes, counts

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measurement:
        rows, codes, counts = self._classes(embeddings, split, rank)
        place = Place(self.name, split, rank)
        sample = np.arange(len(rows))
        if len(rows) > self.most:
            sample = np.sort(np.random.default_rng(seed).choice(sample, self.most, replace=False))
        undetermined = counts["rows_undetermined"]
        numbers = {"rows": len(sample), "classes": counts["classes"], "rows_undetermined": undetermined}
        found = Measurement(place.scores(numbers | {"rows_left_out": len(embeddings) - undetermined - len(sample)}))
        features = embeddings.take(rows).features
        parts = [sample[part] for part in _slices(len(sample), max(1, _CELLS // counts["classes"]))]
        for metric, summed in (("cosine", _cosine_sums), ("euclidean", _euclidean_sums)):
            sums = summed(features, codes)
            values = np.concatenate([_coefficients(sums(part), codes, part) for part in parts])
            outcomes = place.outcomes(metric, embeddings.specimen_id[rows][sample], values)
            found += Measurement(place.scores({metric: float(values.mean())}), outcomes)
        return found


def _coefficients(sums: Floats, codes: Indices, sample: Indices) -> Floats:
    """Silhouettes [q] of the sampled rows, from the sums of their distances to the specimens of each name [q, k]."""
    sizes = np.bincount(codes)
    every, own = np.arange(len(sample)), codes[sample]
    inside = sums[every, own] / (sizes[own] - 1)
    means = sums / sizes
    means[every, own] = np.inf
    outside = means.min(axis=1)
    most = np.maximum(inside, outside)
    values: Floats = np.divide(outside - inside, most, out=np.zeros(len(sample)), where=most > 0)
    return values


def _cosine_sums(features: Features, codes: Indices) -> Callable[[Indices], Floats]:
    """Sums of cosine distances of rows [q] to the specimens of each name [q, k], computed from sums of unit vectors."""
    sums = np.zeros((int(codes.max()) + 1, features.shape[1]))
    for part in _slices(len(codes), _ROWS):
        np.add.at(sums, codes[part], normalize(features[part].astype(np.float64)))

    def measure(sample: Indices) -> Floats:
        points = normalize(features[sample].astype(np.float64))
        distances: Floats = np.bincount(codes) - points @ sums.T
        own = 1.0 - (points**2).sum(axis=1)  # the distance of a row of zeros to itself is 0, too
        distances[np.arange(len(sample)), codes[sample]] -= own
        positive: Floats = np.maximum(distances, 0.0)  # equal rows leave only rounding errors
        return positive

    return measure


def _euclidean_sums(features: Features, codes: Indices) -> Callable[[Indices], Floats]:
    """Sums of Euclidean distances of rows [q] to the specimens of each name [q, k], computed block by block."""
    order = np.argsort(codes, kind="stable")

    def measure(sample: Indices) -> Floats:
        points = features[sample].astype(np.float64)
        sums = np.zeros((len(sample), int(codes.max()) + 1))
        for part in _slices(len(order), min(_ROWS, max(1, _CELLS // len(sample)))):
            names, starts = np.unique(codes[order[part]], return_index=True)
            distances = euclidean_distances(points, features[order[part]].astype(np.float64))
            sums[:, names] += np.add.reduceat(distances, starts, axis=1)
        return sums

    return measure


def _slices(rows: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, rows, step))
