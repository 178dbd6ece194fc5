"""The linear probe of all three applications: standardise, L2 logistic regression, out-of-fold probabilities."""

import warnings
from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from herbray.tasks.base import TaskSpec
from herbray.tasks.embeddings import Floats, Indices
from herbray.tasks.methods.folds import deal_folds


class LinearTask(TaskSpec, ABC):
    """A task that reads everything off linear probes (Walker et al. 2022, their archived code).

    The solver is scikit-learn's L-BFGS in float64, as in the paper. Turning the features into the row space of the
    training fold leaves the optimum where it is, but was measured no faster: it takes more iterations to the same
    tolerance.

    Attributes:
        C: inverse strength of the L2 penalty.
        class_weight: "balanced" weighs classes by their inverse frequency; null weighs rows alike.
        max_iter: iterations of a fit; a fit that reaches it scores `converged` 0.
        tol: largest entry of the gradient at which a fit stops.
        threads: of the linear algebra in one process. Results are exactly repeatable for a given number; one is
            right where many tasks run side by side.
    """

    C: Annotated[float, Field(gt=0)] = 1.0
    class_weight: Literal["balanced"] | None = "balanced"
    max_iter: Annotated[int, Field(ge=1)] = 5000
    tol: Annotated[float, Field(gt=0)] = 1e-4
    threads: Annotated[int, Field(ge=1)] = 1


class ProbeTask(LinearTask, ABC):
    """A task whose probes are cross-validated.

    Attributes:
        folds: of the stratified, shuffled cross-validation.
    """

    folds: Annotated[int, Field(ge=2)] = 5


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What a probe says of specimens that it has not seen.

    Attributes:
        number: of the fold, from 0.
        test: [m] rows that were held out.
        probabilities: [m, k] of each class; rows sum to 1.
        majority: the most frequent class of the training rows.
        converged: whether the solver reached its tolerance.
    """

    number: int
    test: Indices
    probabilities: Floats
    majority: int
    converged: bool


def fit_and_predict(
    fitted: npt.NDArray[np.float32], labels: Indices, tested: npt.NDArray[np.float32], task: LinearTask
) -> FoldPredictions:
    """Fit one probe and ask it about other specimens.

    Args:
        fitted: [n, d] features.
        labels: [n] their classes 0 to k-1, every one of them there, two at least.
        tested: [m, d] features.
        task: the probe's settings.

    Returns:
        A fold of number -1 whose rows are those of `tested`.
    """
    probe, converged = _fit(_make_pipeline(task), fitted.astype(np.float64), labels)
    majority = int(np.bincount(labels).argmax())
    return FoldPredictions(
        -1, np.arange(len(tested)), probe.predict_proba(tested.astype(np.float64)), majority, converged
    )


def cross_validate(
    features: npt.NDArray[np.float32], labels: Indices, units: Indices, task: ProbeTask, seed: int
) -> Iterator[FoldPredictions]:
    """Fit a probe a fold and yield what it says of the rows held out.

    Rows of one unit stand in one fold: a probe that had seen a duplicate of a sheet would know the sheet. Where every
    row is a unit of its own, the folds are scikit-learn's stratified ones, the paper's. Every probe has rows of every
    class to learn from.

    Args:
        features: [n, d].
        labels: [n] classes 0 to k-1, every one of them in at least `task.folds` rows and two units; see `usable`.
        units: [n] codes of what must not be torn apart, such as the gathering.
        task: the probe's settings.
        seed: of the shuffle into folds.

    Raises:
        UnscorableError: a class has fewer rows than there are folds, or there is only one class; or the units cannot be
            dealt so that every fold leaves rows of every class, see `_spread_classes`.
    """
    matrix = features.astype(np.float64)
    for number, (train, test) in enumerate(deal_folds(labels, units, task.folds, seed)):
        probe, converged = _fit(_make_pipeline(task), matrix[train], labels[train])
        majority = int(np.bincount(labels[train]).argmax())
        yield FoldPredictions(number, test, probe.predict_proba(matrix[test]), majority, converged)


def predict_out_of_fold(
    features: npt.NDArray[np.float32], labels: Indices, units: Indices, task: ProbeTask, seed: int
) -> tuple[Floats, float]:
    """Probabilities [n, k] of every row from the probe that has not seen it, and the share of probes that converged.

    Arguments and errors as `cross_validate`.
    """
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    converged = []
    for fold in cross_validate(features, labels, units, task, seed):
        probabilities[fold.test] = fold.probabilities
        converged.append(fold.converged)
    return probabilities, float(np.mean(converged))


def _make_pipeline(task: LinearTask) -> Pipeline:
    regression = LogisticRegression(C=task.C, class_weight=task.class_weight, max_iter=task.max_iter, tol=task.tol)
    return make_pipeline(StandardScaler(), regression)


def _fit(probe: Pipeline, features: Floats, labels: Indices) -> tuple[Pipeline, bool]:
    """Fit, and turn scikit-learn's convergence warning into a value; other warnings go their way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probe.fit(features, labels)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return probe, converged
