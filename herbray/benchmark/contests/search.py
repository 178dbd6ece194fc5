"""The search benchmark: the nearest of many rows to a few vectors, as in `herbray search`, beside faiss and numpy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from herbray.benchmark.contests.knn import build_faiss
from herbray.benchmark.harness.race import Case, Contender, Missing
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.flow.embedding_folder import load_embeddings
from herbray.neighbours.index import VectorIndex

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Find = Callable[[], Indices]

_OURS, _FAISS, _NUMPY = "herbray", "faiss flat", "numpy, 64 bits"
_PART: Final = 8192  # rows that numpy converts at a time


class SearchRows(BenchmarkSpec):
    """Search random unit vectors, and those of an embeddings folder, by queries that are near some of them.

    Every contender's index is built before the race. numpy computes all cosines in 64 bits: it is the oracle. Two
    copies of the points are in memory: ours and faiss's own.
    """

    name: Literal["search"] = "search"
    points: int = Field(200_000, ge=2, description="random rows; a copy takes 4 × points × dim bytes")
    embeddings: Path | None = Field(
        None, description="embeddings folder whose rows are searched too, and are near the queries; sets dim"
    )
    dim: int = Field(512, ge=1, description="length of a row")
    k: int = Field(10, ge=1, description="rows to find for each query")
    queries: tuple[int, ...] = Field((1, 16), min_length=1, description="vectors that are looked up together")
    oracle: bool = Field(True, description="also measure numpy; the agreement is checked in any case")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case for each number of queries."""
        del work
        rng = np.random.default_rng(self.seed)
        real = np.empty((0, self.dim), np.float32)
        if self.embeddings is not None:
            real = np.asarray(load_embeddings(self.embeddings).features)
        points = np.empty((self.points + len(real), real.shape[1]), np.float32)
        points[: len(real)] = real
        for start in range(len(real), len(points), _PART):
            part = points[start : start + _PART]
            part[:] = rng.standard_normal(part.shape, np.float32)
        _unit(points)
        index, built = VectorIndex(points), build_faiss(points)
        for many in self.queries:
            asked = points[:many] + 0.1 * _unit(rng.standard_normal((many, points.shape[1]), np.float32))
            finders: dict[str, Find | Missing] = {
                _OURS: partial(_find, index, asked, self.k),
                _FAISS: built if isinstance(built, Missing) else partial(_find_in_faiss, built, asked, self.k),
                _NUMPY: partial(find_by_hand, points, asked, self.k),
            }
            contenders = [
                find if isinstance(find, Missing) else Contender(name, partial(_count, find))
                for name, find in finders.items()
                if self.oracle or name != _NUMPY
            ]
            yield Case(self._case(many), "queries", contenders, partial(check_agreement, points, asked, finders))

    def targets(self) -> Sequence[Promise]:
        """At most half as slow again as faiss, which does not compute in 64 bits."""
        return [Target(self._case(many), _OURS, _FAISS, "cpu_ms", 0.66) for many in self.queries]

    def _case(self, many: int) -> str:
        size = "rows and the embeddings" if self.embeddings else f"× {self.dim}"
        return f"{many} queries, {self.k} nearest of {self.points:,} {size}"


def _unit(vectors: Floats) -> Floats:
    """Divide each row by its length, in place."""
    for start in range(0, len(vectors), _PART):
        part = vectors[start : start + _PART]
        part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.float32(1e-12))
    return vectors


def _find(index: VectorIndex, asked: Floats, k: int) -> Indices:
    return index.search(asked, k).rows


def _find_in_faiss(index: Any, asked: Floats, k: int) -> Indices:  # noqa: ANN401  (faiss publishes no types)
    found: Indices = index.search(asked, k)[1]
    return found


def _count(find: Find) -> int:
    return len(find())


def find_by_hand(points: Floats, asked: Floats, k: int) -> Indices:
    """The k rows [m, k] with the largest products, computed in 64 bits; equal ones in the order of rows."""
    wide = asked.astype(np.float64)
    parts = [wide @ points[at : at + _PART].astype(np.float64).T for at in range(0, len(points), _PART)]
    products = np.concatenate(parts, axis=1)
    some = np.argpartition(-products, min(k, len(points) - 1), axis=1)[:, :k]
    own = np.take_along_axis(products, some, axis=1)
    order = np.lexsort((some, -own), axis=1)
    found: Indices = np.take_along_axis(some, order, axis=1)
    return found


def check_agreement(points: Floats, asked: Floats, finders: Mapping[str, Find | Missing]) -> None:
    """Check that all find rows of equal cosines, to two millionths.

    Raises:
        ValueError: one finds other rows.
    """
    due = None
    for name, find in finders.items():
        if isinstance(find, Missing):
            continue
        rows = find()
        near = [points[own].astype(np.float64) @ one.astype(np.float64) for own, one in zip(rows, asked, strict=True)]
        found = np.sort(np.array(near), axis=1)
        due = found if due is None else due
        if not np.allclose(found, due, rtol=0, atol=2e-6):
            raise ValueError(f"{name} finds other rows than herbray")
