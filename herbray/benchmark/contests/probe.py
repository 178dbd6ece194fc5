"""The probe benchmark: cross-validated linear probes, against scikit-learn, by CPU time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from herbray.benchmark.harness.race import Case, Contender
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.probes.linear import LinearProbe
from herbray.tasks.identify import Identify
from herbray.tasks.methods.probe import fit_probes_of

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_OURS, _LEARN = "herbray", "scikit-learn"
_LEAST: Final = {10: 1.5, 100: 4.0, 1000: 8.0}  # classes → how many times cheaper is promised
_LOSS, _PROBABILITY = 1e-4, 0.02


class Probe(BenchmarkSpec):
    """Fit the probes of all folds on random embeddings, at each number of classes.

    The embeddings are clouds, one a class, whose sizes fall off as those of genera do; the variance of their principal
    components falls off as 1 / rank, like that of a network's features. Both contenders stop at the same tolerance, or
    after the same number of iterations. `rows=20000 dim=512 classes=[10,100,1000]` is a large collection, and takes
    scikit-learn an hour; `folds=1 rounds=1 iterations=5` shortens it.
    """

    name: Literal["probe"] = "probe"
    rows: int = Field(4000, ge=50, description="number of specimens")
    dim: int = Field(128, ge=1, description="length of an embedding")
    classes: tuple[int, ...] = Field((2, 10, 100), min_length=1, description="numbers of classes, a case each")
    folds: int = Field(5, ge=1, le=5, description="how many of five folds are fitted")
    iterations: int = Field(5000, ge=1, description="most iterations of a fit")
    rounds: int = Field(5, ge=1, description="laps of each contender after a warm-up")

    def cases(self, work: Path) -> Iterator[Case]:
        """A case for each number of classes, on one thread; on a GPU too, if there is one."""
        del work
        for classes in self.classes:
            features, labels = draw_embeddings(self.rows, self.dim, classes, self.seed)
            found: dict[str, list[LinearProbe]] = {}
            contenders = [
                Contender(name, self._fits(name, solver, features, labels, found))
                for name, solver in ((_OURS, "torch"), (_LEARN, "sklearn"))
            ]
            yield Case(self._case(classes), "fits", contenders, self._agreement(features, labels, found, contenders))

    def targets(self) -> Sequence[Promise]:
        """By CPU time; a number of classes without a promise of its own has that of the next smaller one."""
        found = []
        for classes in self.classes:
            least = max((value for known, value in _LEAST.items() if known <= classes), default=1.0)
            found.append(Target(self._case(classes), _OURS, _LEARN, "cpu_ms", least))
        return found

    def _case(self, classes: int) -> str:
        return f"{self.rows:,} × {self.dim}, {classes:,} classes"

    def _fits(
        self, name: str, solver: str, features: Floats, labels: Indices, found: dict[str, list[LinearProbe]]
    ) -> Callable[[], int]:
        task = Identify(solver=solver, max_iter=self.iterations)
        held = np.arange(len(labels)) % 5

        def run() -> int:
            with threadpool_limits(1):
                rows = [np.flatnonzero(held != fold) for fold in range(self.folds)]
                found[name] = list(fit_probes_of(features, labels, rows, task))
            return self.folds

        return run

    def _agreement(
        self, features: Floats, labels: Indices, found: dict[str, list[LinearProbe]], contenders: Sequence[Contender]
    ) -> Callable[[], None]:
        def check() -> None:
            for contender in contenders:
                contender.run()
            for fold, (ours, theirs) in enumerate(zip(found[_OURS], found[_LEARN], strict=True)):
                train = np.flatnonzero(np.arange(len(labels)) % 5 != fold)
                compare_probes(features, labels, train, ours, theirs)

        return check


def compare_probes(
    features: Floats, labels: Indices, train: Indices, ours: LinearProbe, theirs: LinearProbe
) -> tuple[float, float, int]:
    """The relative difference of losses, the largest of probabilities held out, and how many predictions differ.

    Raises:
        ValueError: they differ by more than rounding explains.
    """
    losses = [measure_loss(features, labels, train, probe) for probe in (ours, theirs)]
    loss = abs(losses[0] - losses[1]) / losses[1]
    held = np.setdiff1d(np.arange(len(labels)), train)
    mine, other = (_softmax(probe.logits(features[held])) for probe in (ours, theirs))
    apart, flips = float(np.abs(mine - other).max()), int((mine.argmax(axis=1) != other.argmax(axis=1)).sum())
    if loss > _LOSS or apart > _PROBABILITY:
        raise ValueError(f"herbray's loss is {loss:.2g} from scikit-learn's, a probability {apart:.2g}")
    return loss, apart, flips


def measure_loss(features: Floats, labels: Indices, train: Indices, probe: LinearProbe) -> float:
    """The balanced loss with penalty (C = 1) that the probe was fitted to minimise, in 64 bits."""
    counts = np.bincount(labels[train])
    weight = (1.0 / (len(counts) * counts))[labels[train]]
    total = 0.5 * float((probe.coefficients.astype(np.float64) ** 2).sum()) / len(train)
    for start in range(0, len(train), 1024):
        rows = train[start : start + 1024]
        logits = _two_columns(probe.logits(features[rows]).astype(np.float64))
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(rows)), labels[rows]]
        total += float(weight[start : start + 1024] @ (np.log(np.exp(logits).sum(axis=1)) - own))
    return total


def _two_columns(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    wide = _two_columns(logits.astype(np.float64))
    wide = np.exp(wide - wide.max(axis=1, keepdims=True))
    found: npt.NDArray[np.float64] = wide / wide.sum(axis=1, keepdims=True)
    return found


def draw_embeddings(rows: int, dim: int, classes: int, seed: int) -> tuple[Floats, Indices]:
    """Random embeddings [rows, dim] and their classes; each class has five rows or more."""
    rng = np.random.default_rng(seed)
    share = 1.0 / (np.arange(classes) + 10.0)
    drawn = rng.choice(classes, max(0, rows - 5 * classes), p=share / share.sum())
    labels = rng.permutation(np.concatenate([np.repeat(np.arange(classes), 5), drawn])[:rows])
    centres = rng.standard_normal((classes, dim), np.float32) * np.float32(1.7 / dim**0.5 * np.log10(10 * classes))
    found = centres[labels] + rng.standard_normal((rows, dim), np.float32)
    found *= (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    turned, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    return found @ turned.astype(np.float32), labels
