"""The knn benchmark: exact k nearest neighbours among the rows, as in tasks and validation, against two libraries."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from herbray.benchmark.harness.figures import Figure
from herbray.benchmark.harness.race import Case, Contender, Missing
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.neighbours.search import Indices, find_nearest

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Search = Callable[[], Ints]

_CHUNK: Final = 65_536
_PART: Final = 1024  # rows that the plain search on a GPU compares with all others at once
_OURS, _OURS_GPU, _PLAIN = "herbray", "herbray: GPU", "product and topk on the GPU"
_LEARN, _LEARN_UNIT, _FAISS = "scikit-learn", "scikit-learn, unit vectors", "faiss flat"


class Knn(BenchmarkSpec):
    """Search by cosine among random points in clusters, like embeddings; the first points are the queries.

    A point is not its own neighbour: the libraries search for k + 1 and drop the point itself. `points=2260000` is the
    size of the whole Half-Earth collection. Up to four copies are in memory at once: the points, their unit vectors,
    faiss's own, and the unit vectors that scikit-learn's cosine makes in each search.
    """

    name: Literal["knn"] = "knn"
    points: int = Field(
        100_000, ge=2, description="a copy takes 4 × points × dim bytes; up to four copies: 18.5 GB at 2,260,000 × 512"
    )
    queries: int = Field(2000, ge=1, description="number of queries; at most the number of points")
    dim: int = Field(512, ge=1, description="length of a point")
    k: int = Field(10, ge=1, description="neighbours to find for each query")
    cpu: bool = Field(True, description="also search on the CPU; false needs a GPU and saves minutes")

    @model_validator(mode="after")
    def _can_search(self) -> Self:
        if not self.cpu and not torch.cuda.is_available():
            raise ValueError("cpu=false leaves nothing to measure: torch finds no GPU here")
        return self

    def cases(self, work: Path) -> Iterator[Case]:
        """On the CPU and, if there is one, on the GPU; all inputs are in memory."""
        del work
        points = self._cloud()
        asked = np.arange(min(self.queries, self.points))
        searches = _searches(points, asked, self.k, self.cpu)
        contenders = [
            search if isinstance(search, Missing) else Contender(name, _counted(search))
            for name, search in searches.items()
        ]
        yield Case(self._case(), "queries", contenders, _agreement(points, asked, searches))

    def targets(self) -> Sequence[Promise]:
        """Against scikit-learn's best way and faiss, by CPU time and wall time; on a GPU by wall time."""
        kept = [Target(self._case(), _OURS_GPU, _PLAIN, "rate", 0.6)] if torch.cuda.is_available() else []
        peers = ((_LEARN_UNIT, 1.3), (_FAISS, 0.6)) if self.cpu else ()
        figures: tuple[Figure, ...] = ("cpu_ms", "rate")
        return kept + [Target(self._case(), _OURS, peer, figure, least) for peer, least in peers for figure in figures]

    def _case(self) -> str:
        return f"{self.k} nearest of {self.points:,} × {self.dim}"

    def _cloud(self) -> Floats:
        """Points around centres, about a hundred points per centre."""
        rng = np.random.default_rng(self.seed)
        centres = rng.standard_normal((max(1, self.points // 100), self.dim), np.float32)
        found = rng.standard_normal((self.points, self.dim), np.float32)
        own = rng.integers(0, len(centres), self.points)
        for start in range(0, self.points, _CHUNK):  # all rows' centres at once would be a second cloud
            found[start : start + _CHUNK] += centres[own[start : start + _CHUNK]]
        return found


def _searches(points: Floats, asked: Indices, k: int, cpu: bool) -> dict[str, Search | Missing]:
    """The searches, each with the preparation that suits it; only for ours is the preparation part of the lap."""
    found: dict[str, Search | Missing] = {_OURS: _ours(points, asked, k, "cpu")} if cpu else {}
    if torch.cuda.is_available():
        there = torch.from_numpy(points).to("cuda")
        found |= {_OURS_GPU: _ours(there, asked, k, "cuda"), _PLAIN: _plain(there, asked, k)}
    if not cpu:
        return found
    found[_LEARN] = _learn(points, asked, k, "cosine")
    found[_LEARN_UNIT] = _learn(_unit(points), asked, k, "euclidean")
    found[_FAISS] = _faiss(_unit(points), asked, k)
    return found


def _ours(points: Floats | torch.Tensor, asked: Indices, k: int, device: str) -> Search:
    units = np.arange(len(points))
    return lambda: np.concatenate([near.neighbours for near in find_nearest(points, units, k, asked, device=device)])


def _plain(points: torch.Tensor, asked: Indices, k: int) -> Search:
    """A search in three lines: all products in 32 bits and the largest of each row, with ties in any order."""
    unit = torch.nn.functional.normalize(points, dim=1)
    parts = [torch.from_numpy(asked[i : i + _PART]).to(points.device) for i in range(0, len(asked), _PART)]

    def search() -> Ints:
        found = []
        for rows in parts:
            scores = unit[rows] @ unit.T
            found.append(scores.scatter_(1, rows.unsqueeze(1), -torch.inf).topk(k, dim=1).indices)
        return torch.cat(found).cpu().numpy()

    return search


def _learn(points: Floats, asked: Indices, k: int, metric: str) -> Search:
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(n_neighbors=k + 1, metric=metric, algorithm="brute", n_jobs=-1).fit(points)
    return lambda: without_own(fitted.kneighbors(points[asked], return_distance=False), asked)


def _faiss(points: Floats, asked: Indices, k: int) -> Search | Missing:
    index = build_faiss(points)
    if isinstance(index, Missing):
        return index
    return lambda: without_own(index.search(points[asked], k + 1)[1], asked)


def build_faiss(points: Floats) -> Any:  # noqa: ANN401  (an index of faiss, which publishes no types, or Missing)
    """A flat index of faiss, which searches by inner product with as many threads as torch."""
    try:
        import faiss
    except ImportError as error:
        return Missing(_FAISS, f"{error}; pip install 'herbray[benchmark]'")
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(points.shape[1])
    index.add(points)
    return index


def without_own(places: Ints, asked: Indices) -> Ints:
    """Places [m, k + 1] without the query itself, or without the last place if duplicates have displaced the query."""
    own = places == asked[:, None]
    own[~own.any(axis=1), -1] = True
    others: Ints = places[~own].reshape(len(places), -1)
    return others


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def _counted(search: Search) -> Callable[[], int]:
    return lambda: len(search())


def _agreement(points: Floats, asked: Indices, searches: dict[str, Search | Missing]) -> Callable[[], None]:
    def check() -> None:
        due = None
        for name, search in searches.items():
            if isinstance(search, Missing):
                continue
            found = cosines(points, asked, search())
            due = found if due is None else due
            if not np.allclose(found, due, rtol=0, atol=2e-6):
                worst = int(np.abs(found - due).max(axis=1).argmax())
                raise ValueError(f"{name} finds other neighbours than herbray, for example for row {worst}")

    return check


def cosines(points: Floats, asked: Indices, places: Ints) -> npt.NDArray[np.float64]:
    """Cosines of neighbours in 64 bits, ascending: equal if the neighbours are equal or tied.

    Args:
        points: [n, d].
        asked: [m] rows of `points` that are the queries.
        places: [m, k] rows of `points` that were found for each query.
    """
    found = np.empty(places.shape)
    for row, (one, chosen) in enumerate(zip(asked, places, strict=True)):
        near, here = points[chosen].astype(np.float64), points[one].astype(np.float64)
        found[row] = near @ here / (np.linalg.norm(near, axis=1) * np.linalg.norm(here))
    return np.sort(found, axis=1)
