"""Exact k nearest neighbours against scikit-learn and faiss, as many queries on as many points."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from herbray.benchmark.race import Case, Contender, Missing
from herbray.benchmark.spec import BenchmarkSpec, Promise, Target
from herbray.model.neighbours import Metric, nearest

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Search = Callable[[], Ints]

_METRICS: Final[tuple[Metric, ...]] = ("cosine", "euclidean")
_CHUNK: Final = 65_536
_LEARN, _LEARN_UNIT, _FAISS = "scikit-learn", "scikit-learn, unit vectors", "faiss flat"


class Knn(BenchmarkSpec):
    """Search among random points in clusters, which is how embeddings lie.

    `points=2260000` is the whole of the Half-Earth collection. Copies at once: the points, their unit vectors,
    faiss's own, and the unit vectors that scikit-learn's cosine makes in each search.
    """

    name: Literal["knn"] = "knn"
    points: int = Field(
        100_000, ge=2, description="4 × points × dim bytes a copy, up to four at once: 18.5 GB at 2,260,000 × 512"
    )
    queries: int = Field(500, ge=1)
    dim: int = Field(512, ge=1)
    k: int = Field(10, ge=1)

    def cases(self, work: Path) -> Iterator[Case]:
        """Cosine and Euclidean, on the CPU and, where there is one, on the GPU; all inputs are in memory."""
        del work
        points, queries = self._cloud()
        for metric in _METRICS:
            searches = _searches(points, queries, self.k, metric)
            contenders = [
                search if isinstance(search, Missing) else Contender(name, _counted(search))
                for name, search in searches.items()
            ]
            check = _agreement(points, queries, metric, searches)
            yield Case(self._case(metric), "queries", contenders, check)

    def targets(self) -> Sequence[Promise]:
        """Against scikit-learn's best way and against faiss, by CPU time and by the clock."""
        best = {"cosine": _LEARN_UNIT, "euclidean": _LEARN}
        return [
            Target(self._case(metric), "herbray", peer, figure, least)
            for metric in _METRICS
            for peer, least in ((best[metric], 1.3), (_FAISS, 0.6))
            for figure in ("cpu_ms", "rate")
        ]

    def _case(self, metric: Metric) -> str:
        return f"{self.k} nearest of {self.points:,} × {self.dim}, {metric}"

    def _cloud(self) -> tuple[Floats, Floats]:
        """Points and queries around the same centres, one to about a hundred points."""
        rng = np.random.default_rng(self.seed)
        centres = rng.standard_normal((max(1, self.points // 100), self.dim), np.float32)

        def draw(count: int) -> Floats:
            found = rng.standard_normal((count, self.dim), np.float32)
            own = rng.integers(0, len(centres), count)
            for start in range(0, count, _CHUNK):  # all rows' centres at once would be a second cloud
                found[start : start + _CHUNK] += centres[own[start : start + _CHUNK]]
            return found

        return draw(self.points), draw(self.queries)


def _searches(points: Floats, queries: Floats, k: int, metric: Metric) -> dict[str, Search | Missing]:
    """The ways to find neighbours, each prepared as it likes best; preparation is not measured."""
    found: dict[str, Search | Missing] = {"herbray": _ours(points, queries, k, metric, "cpu")}
    if torch.cuda.is_available():
        found["herbray: GPU"] = _ours(points, queries, k, metric, "cuda")
    found[_LEARN] = _learn(points, queries, k, metric)
    if metric == "cosine":
        found[_LEARN_UNIT] = _learn(_unit(points), _unit(queries), k, "euclidean")
    found[_FAISS] = _faiss(points, queries, k, metric)
    return found


def _ours(points: Floats, queries: Floats, k: int, metric: Metric, device: str) -> Search:
    sought, among = (torch.from_numpy(array).to(device) for array in (queries, points))

    def search() -> Ints:
        places: Ints = nearest(sought, among, k, metric)[1].cpu().numpy()
        return places

    return search


def _learn(points: Floats, queries: Floats, k: int, metric: Metric) -> Search:
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute", n_jobs=-1).fit(points)

    def search() -> Ints:
        places: Ints = fitted.kneighbors(queries, return_distance=False)
        return places

    return search


def _faiss(points: Floats, queries: Floats, k: int, metric: Metric) -> Search | Missing:
    try:
        import faiss
    except ImportError as error:
        return Missing(_FAISS, f"{error}; pip install 'herbray[benchmark]'")
    faiss.omp_set_num_threads(torch.get_num_threads())
    kind = faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2
    index = kind(points.shape[1])
    index.add(_unit(points) if metric == "cosine" else points)
    sought = _unit(queries) if metric == "cosine" else queries

    def search() -> Ints:
        places: Ints = index.search(sought, k)[1]
        return places

    return search


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def _counted(search: Search) -> Callable[[], int]:
    return lambda: len(search())


def _agreement(
    points: Floats, queries: Floats, metric: Metric, searches: dict[str, Search | Missing]
) -> Callable[[], None]:
    def check() -> None:
        due = None
        for name, search in searches.items():
            if isinstance(search, Missing):
                continue
            found = distances_to(points, queries, search(), metric)
            due = found if due is None else due
            if not np.allclose(found, due, rtol=1e-5, atol=1e-6):
                worst = int(np.abs(found - due).max(axis=1).argmax())
                raise ValueError(f"{name} finds other neighbours than herbray, as for query {worst}")

    return check


def distances_to(points: Floats, queries: Floats, places: Ints, metric: Metric) -> npt.NDArray[np.float64]:
    """Distances of the chosen points in 64 bits, ascending: equal where the neighbours are, ties aside.

    Args:
        points: [n, d].
        queries: [q, d].
        places: [q, k], rows of `points`.
        metric: of the search.
    """
    told = np.empty(places.shape)
    for row, chosen in enumerate(places):
        near, here = points[chosen].astype(np.float64), queries[row].astype(np.float64)
        if metric == "cosine":
            told[row] = 1 - near @ here / (np.linalg.norm(near, axis=1) * np.linalg.norm(here))
        else:
            told[row] = np.linalg.norm(near - here, axis=1)
    return np.sort(told, axis=1)
