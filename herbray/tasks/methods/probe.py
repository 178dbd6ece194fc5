"""The linear probe of all three applications: standardisation, L2 logistic regression, out-of-fold probabilities."""

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

from herbray.tasks.interface.base import TaskSpec
from herbray.tasks.interface.embeddings import Floats, Indices
from herbray.tasks.methods.folds import deal_folds


class LinearTask(TaskSpec, ABC):
    """A task that is scored with linear probes (Walker et al. 2022, archived code).

    The solver is scikit-learn's L-BFGS in float64, as in the paper. Projecting the features to the row space of the
    training fold would not change the optimum, but was not faster in measurements: it needs more iterations to reach
    the same tolerance.

    Attributes:
        C: inverse strength of the L2 penalty.
        class_weight: "balanced" weights classes by their inverse frequency; null weights all rows equally.
        max_iter: maximum number of iterations of a fit; a fit that reaches it has the score `converged` 0.
        tol: a fit stops when the largest entry of the gradient is below this value.
        threads: number of linear-algebra threads in one process. Results are exactly reproducible for a given number;
            use 1 when many tasks run in parallel.
    """

    C: Annotated[float, Field(gt=0)] = 1.0
    class_weight: Literal["balanced"] | None = "balanced"
    max_iter: Annotated[int, Field(ge=1)] = 5000
    tol: Annotated[float, Field(gt=0)] = 1e-4
    threads: Annotated[int, Field(ge=1)] = 1


class ProbeTask(LinearTask, ABC):
    """A task whose probes are cross-validated.

    Attributes:
        folds: number of folds of the stratified, shuffled cross-validation.
    """

    folds: Annotated[int, Field(ge=2)] = 5


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """Predictions of a probe for specimens on which it was not fitted.

    Attributes:
        number: number of the fold, from 0.
        test: [m] the held-out rows.
        probabilities: [m, k] probability of each class; rows sum to 1.
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
    """Fit one probe and predict the classes of other specimens.

    Args:
        fitted: [n, d] features to fit on.
        labels: [n] classes of `fitted`, 0 to k-1; every class occurs, and there are at least two.
        tested: [m, d] features to predict.
        task: settings of the probe.

    Returns:
        Predictions with fold number -1, whose rows are those of `tested`.
    """
    probe, converged = _fit(_make_pipeline(task), fitted.astype(np.float64), labels)
    majority = int(np.bincount(labels).argmax())
    return FoldPredictions(
        -1, np.arange(len(tested)), probe.predict_proba(tested.astype(np.float64)), majority, converged
    )


def cross_validate(
    features: npt.NDArray[np.float32], labels: Indices, units: Indices, task: ProbeTask, seed: int
) -> Iterator[FoldPredictions]:
    """Fit one probe per fold and yield its predictions for the held-out rows.

    All rows of a unit are in the same fold: a probe fitted on a duplicate of a sheet would recognise the sheet. If
    every row is a unit, the folds are the stratified folds of scikit-learn, as in the paper. Every training fold
    contains every class.

    Args:
        features: [n, d].
        labels: [n] classes 0 to k-1, each with at least `task.folds` rows and two units; see `classes.select_classes`.
        units: [n] codes of rows that must stay together, such as the gathering.
        task: settings of the probe.
        seed: seed of the shuffle into folds.

    Raises:
        UnscorableError: a class has fewer rows than there are folds, there is only one class, or no assignment of units
            to folds was found in which every training fold contains every class; see `folds.deal_folds`.
    """
    matrix = features.astype(np.float64)
    for number, (train, test) in enumerate(deal_folds(labels, units, task.folds, seed)):
        probe, converged = _fit(_make_pipeline(task), matrix[train], labels[train])
        majority = int(np.bincount(labels[train]).argmax())
        yield FoldPredictions(number, test, probe.predict_proba(matrix[test]), majority, converged)


def predict_out_of_fold(
    features: npt.NDArray[np.float32], labels: Indices, units: Indices, task: ProbeTask, seed: int
) -> tuple[Floats, float]:
    """Probabilities [n, k] of each row from the probe not fitted on it, and the share of probes that converged.

    Arguments and errors are those of `cross_validate`.
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
    """Fit, and return whether the fit converged instead of scikit-learn's warning; other warnings are passed on."""
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
