"""The linear probe of all three applications: standardisation, L2 logistic regression, out-of-fold probabilities."""

import warnings
from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from herbray.probes.fit import Fit, Solver, fit_probes
from herbray.probes.linear import LinearProbe, Probabilities
from herbray.tasks.interface.base import TaskSpec
from herbray.tasks.interface.embeddings import Features, Floats, Indices
from herbray.tasks.methods.folds import deal_folds


class LinearTask(TaskSpec, ABC):
    """A task that is scored with linear probes (Walker et al. 2022, archived code).

    The paper's solver is scikit-learn's L-BFGS in 64 bits, at its default tolerance. With many classes it stops far
    from the optimum, so that the solver's path is part of the result. Both solvers here take this path.

    Attributes:
        solver: "torch" fits many probes at once in 32 bits, on a GPU if there is one; "sklearn" is scikit-learn itself.
            Probabilities differ by some thousandths at most.
        C: inverse strength of the L2 penalty.
        class_weight: "balanced" weights classes by their inverse frequency; null weights all rows equally.
        max_iter: maximum number of iterations of a fit; a fit that reaches it has the score `converged` 0.
        tol: a fit stops when the largest entry of the gradient is below this value.
    """

    solver: Literal["torch", "sklearn"] = "torch"
    C: Annotated[float, Field(gt=0)] = 1.0
    class_weight: Literal["balanced"] | None = "balanced"
    max_iter: Annotated[int, Field(ge=1)] = 5000
    tol: Annotated[float, Field(gt=0)] = 1e-4


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
        probabilities: of each class [m, k], computed in blocks when they are asked for.
        majority: the most frequent class of the training rows.
        converged: whether the solver reached its tolerance.
    """

    number: int
    test: Indices
    probabilities: Probabilities
    majority: int
    converged: bool


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Probabilities of each of n rows from the probe not fitted on it.

    Attributes:
        folds: the predictions of all folds.
        shape: n and k.
    """

    folds: Sequence[FoldPredictions]
    shape: tuple[int, int]

    @property
    def converged(self) -> float:
        """The share of probes that converged."""
        return float(np.mean([fold.converged for fold in self.folds]))

    def blocks(self) -> Iterator[tuple[Indices, Floats]]:
        """Rows [b] and their probabilities [b, k], block by block; each row once."""
        for fold in self.folds:
            for part, block in fold.probabilities.by_rows():
                yield fold.test[part], block

    def dense(self) -> Floats:
        """All probabilities [n, k]: for few classes."""
        found = np.zeros(self.shape)
        for rows, block in self.blocks():
            found[rows] = block
        return found


def fit_and_predict(
    fitted: Features, rows: Indices, labels: Indices, tested: Features, asked: Indices, task: LinearTask
) -> FoldPredictions:
    """Fit one probe and predict the classes of other specimens.

    Args:
        fitted: [n, d] features to fit on.
        rows: [f] the rows to fit on, ascending.
        labels: [f] their classes, 0 to k-1; every class occurs, and there are at least two.
        tested: [m, d] features to predict.
        asked: [q] the rows to predict.
        task: settings of the probe.

    Returns:
        Predictions with fold number -1, for the rows `asked`.
    """
    probe = next(_fit(fitted, [Fit(rows, labels)], task))
    return _predict(-1, probe, tested, asked, labels)


def cross_validate(
    features: Features, labels: Indices, units: Indices, task: ProbeTask, seed: int
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
    dealt = deal_folds(labels, units, task.folds, seed)
    probes = _fit(features, [Fit(train, labels[train]) for train, _ in dealt], task)
    for number, ((train, test), probe) in enumerate(zip(dealt, probes, strict=True)):
        yield _predict(number, probe, features, test, labels[train])


def predict_out_of_fold(features: Features, labels: Indices, units: Indices, task: ProbeTask, seed: int) -> OutOfFold:
    """Probabilities of each row from the probe not fitted on it; arguments and errors as in `cross_validate`."""
    return next(predict_draws(features, [labels], units, task, [seed]))


def predict_draws(
    features: Features, draws: Sequence[Indices], units: Indices, task: ProbeTask, seeds: Sequence[int]
) -> Iterator[OutOfFold]:
    """`predict_out_of_fold` for several labellings [n] of the same rows, each with its seed, fitted together."""
    dealt = [deal_folds(labels, units, task.folds, seed) for labels, seed in zip(draws, seeds, strict=True)]
    fits = [Fit(rows, labels[rows]) for labels, folds in zip(draws, dealt, strict=True) for rows, _ in folds]
    probes = _fit(features, fits, task)
    for labels, folds in zip(draws, dealt, strict=True):
        found = [
            _predict(number, next(probes), features, test, labels[train]) for number, (train, test) in enumerate(folds)
        ]
        yield OutOfFold(found, (len(labels), int(labels.max()) + 1))


def fit_probes_of(
    features: Features, labels: Indices, trained: Sequence[Indices], task: LinearTask
) -> Iterator[LinearProbe]:
    """Fit a probe on each of several sets of rows, ascending; every class occurs in each of them."""
    return _fit(features, [Fit(rows, labels[rows]) for rows in trained], task)


def _predict(number: int, probe: LinearProbe, features: Features, rows: Indices, fitted: Indices) -> FoldPredictions:
    majority = int(np.bincount(fitted).argmax())
    return FoldPredictions(number, rows, Probabilities(probe, features, rows), majority, probe.converged)


def _fit(features: Features, fits: Sequence[Fit], task: LinearTask) -> Iterator[LinearProbe]:
    """The probes, in order; they are fitted when they are asked for."""
    if task.solver == "sklearn":
        return (_fit_in_sklearn(features[fit.rows].astype(np.float64), fit.labels, task) for fit in fits)
    classes = int(fits[0].labels.max()) + 1
    solver = Solver(classes, task.C, task.class_weight == "balanced", task.tol, task.max_iter)
    return fit_probes(features, fits, solver)


def _fit_in_sklearn(features: Floats, labels: Indices, task: LinearTask) -> LinearProbe:
    """Fit, and keep whether the fit converged instead of scikit-learn's warning; other warnings are passed on."""
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=task.C, class_weight=task.class_weight, max_iter=task.max_iter, tol=task.tol)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regression.fit(scaler.transform(features), labels)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return LinearProbe(
        regression.coef_, regression.intercept_, scaler.mean_, scaler.scale_, converged, int(regression.n_iter_.max())
    )
