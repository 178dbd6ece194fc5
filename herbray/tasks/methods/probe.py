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
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from herbray.tasks.base import Floats, Indices, Objects, TaskSpec, UnscorableError


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
class Fold:
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


def usable(labels: Objects, units: Indices, at_least: int) -> tuple[Indices, Indices, dict[str, int]]:
    """The rows whose class lies in `at_least` units, which follows from labels and units alone.

    Rows do not count: folds keep a unit together, so a class of one unit could be held out but not learnt.

    Args:
        labels: [n] str, None where undetermined.
        units: [n] codes of what must not be torn apart, such as the gathering; see `units.gathering_codes`.
        at_least: units that a class needs.

    Returns:
        The rows [m], ascending; their classes [m] as numbers in alphabetical order; and the counts `classes`, `rows`,
        `classes_left_out`, `rows_left_out` (of classes in too few units), `rows_undetermined`.
    """
    named = np.flatnonzero([label is not None for label in labels])
    names, inverse = np.unique(labels[named].astype(str), return_inverse=True)
    kept = _units_of_each(inverse, units[named], len(names)) >= at_least
    keep = kept[inverse]
    renumber = np.cumsum(kept) - 1
    counts = {
        "classes": int(kept.sum()),
        "rows": int(keep.sum()),
        "classes_left_out": len(names) - int(kept.sum()),
        "rows_left_out": len(named) - int(keep.sum()),
        "rows_undetermined": len(labels) - len(named),
    }
    return named[keep], renumber[inverse[keep]], counts


def _units_of_each(classes: Indices, units: Indices, many: int) -> Indices:
    """How many units each of the classes 0 to `many` - 1 lies in."""
    return np.bincount(_memberships(classes, units)[0], minlength=many)


def _memberships(classes: Indices, units: Indices) -> Indices:
    """Each class with each unit that it lies in, once: [2, p]."""
    pairs: Indices = np.stack([classes, units])[:, np.lexsort((units, classes))]
    first = np.ones(pairs.shape[1], dtype=bool)
    first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return pairs[:, first]


def too_few(counts: dict[str, int], at_least: int) -> str:
    """Why names of a rank cannot be cross-validated: fewer than two of them are usable.

    Args:
        counts: from `usable`.
        at_least: units that a class needs.
    """
    known = counts["classes"] + counts["classes_left_out"]
    if not known:
        return "no specimen has a name there"
    classes = f"{counts['classes']} of {known} classes"
    return f"{classes} lie in the {at_least} gatherings that {at_least} folds need, and at least two must"


def fit_once(
    fitted: npt.NDArray[np.float32], labels: Indices, tested: npt.NDArray[np.float32], task: LinearTask
) -> Fold:
    """Fit one probe and ask it about other specimens.

    Args:
        fitted: [n, d] features.
        labels: [n] their classes 0 to k-1, every one of them there, two at least.
        tested: [m, d] features.
        task: the probe's settings.

    Returns:
        A fold of number -1 whose rows are those of `tested`.
    """
    probe, converged = _fit(_pipeline(task), fitted.astype(np.float64), labels)
    majority = int(np.bincount(labels).argmax())
    return Fold(-1, np.arange(len(tested)), probe.predict_proba(tested.astype(np.float64)), majority, converged)


def cross_validate(
    features: npt.NDArray[np.float32], labels: Indices, units: Indices, task: ProbeTask, seed: int
) -> Iterator[Fold]:
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
            dealt so that every fold leaves rows of every class, see `_spread`.
    """
    matrix = features.astype(np.float64)
    for number, (train, test) in enumerate(dealt(labels, units, task.folds, seed)):
        probe, converged = _fit(_pipeline(task), matrix[train], labels[train])
        majority = int(np.bincount(labels[train]).argmax())
        yield Fold(number, test, probe.predict_proba(matrix[test]), majority, converged)


def dealt(labels: Indices, units: Indices, many: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Rows to learn from and rows held out, fold by fold: all of `cross_validate` that follows from labels.

    Raises:
        UnscorableError: as `cross_validate`.
    """
    counts = np.bincount(labels)
    apart = _units_of_each(labels, units, len(counts))
    if len(counts) < 2 or counts.min() < many or apart.min() < 2:
        raise UnscorableError(
            f"rows a class {counts.tolist()[:20]}, gatherings a class {apart.tolist()[:20]}: {many}-fold "
            f"cross-validation needs two classes of at least {many} rows, in two gatherings or more"
        )
    return list(_folds(labels, units, many, seed))


def _folds(labels: Indices, units: Indices, many: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Rows to learn from and rows held out, fold by fold: units are dealt by the class of their first row."""
    _, firsts, unit = np.unique(units, return_index=True, return_inverse=True)
    heads = np.sort(firsts)
    unit = np.argsort(np.argsort(firsts))[unit]  # units in the order of their first rows, not of their codes
    fold = _spread(_deal(labels[heads], many, seed), _memberships(labels, unit), many)
    for number in range(many):
        out = fold[unit] == number
        yield np.flatnonzero(~out), np.flatnonzero(out)


def _deal(heads: Indices, many: int, seed: int) -> Indices:
    """The fold of each unit, given the class of each: scikit-learn's stratified folds."""
    if len(heads) < many:
        raise UnscorableError(f"{len(heads)} gatherings for {many} folds: lower `folds`")
    if np.bincount(heads).max() < many:  # no class is first in so many units: scikit-learn would refuse
        heads = np.zeros_like(heads)
    fold = np.empty_like(heads)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # of units; its rows were counted
        dealt = StratifiedKFold(many, shuffle=True, random_state=seed).split(heads, heads)
        for number, (_, held) in enumerate(dealt):
            fold[held] = number
    return fold


def _spread(fold: Indices, memberships: Indices, many: int) -> Indices:
    """Move units to other folds until no class lies in one fold alone, where no probe could learn it.

    A unit that holds several classes is dealt by one of them, so that chance may put all units of another class in one
    fold. Such a class is always cured if one of its units holds fewer than `many` - 1 further classes: each of these
    forbids at most one of as many other folds.

    Args:
        fold: [u] of each unit.
        memberships: [2, p] classes and their units.
        many: folds.

    Raises:
        UnscorableError: no unit can be moved.
    """
    while len(alone := _in_one_fold(fold, memberships)):
        moved = _cured(fold, memberships, many, alone)
        if moved is None:
            raise UnscorableError(
                f"{len(alone)} of {memberships[0].max() + 1} classes would be held out whole by one of {many} folds, "
                "since their gatherings hold many classes each: change `folds`"
            )
        fold = moved
    return fold


def _in_one_fold(fold: Indices, memberships: Indices) -> Indices:
    """The classes whose units all lie in one fold."""
    classes, units = memberships
    return np.flatnonzero(_units_of_each(classes, fold[units], int(classes.max()) + 1) == 1)


def _cured(fold: Indices, memberships: Indices, many: int, alone: Indices) -> Indices | None:
    """The folds after the first move, of a unit of one of the classes that lie alone, that leaves fewer of them.

    Emptier folds are tried first; None where no move helps.
    """
    classes, units = memberships
    for unit in np.unique(units[np.isin(classes, alone)]):
        for number in np.argsort(np.bincount(fold, minlength=many), kind="stable"):
            moved = fold.copy()
            moved[unit] = number
            if len(_in_one_fold(moved, memberships)) < len(alone):
                return moved
    return None


def out_of_fold(
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


def macro_scores(truth: Indices, fold: Fold, present_only: bool = False) -> dict[str, float]:
    """Scores of one fold over k classes that count alike; a class never predicted has precision 0.

    Args:
        truth: [m] classes of the fold's rows.
        fold: the probe's probabilities for them.
        present_only: leave classes without a row out of every mean, in place of counting their recall as 0: where
            gatherings are kept together, a fold may hold none of a small class.

    Returns:
        `accuracy`; macro `precision`, `recall`, `f1`; `balanced_accuracy`, which equals macro recall where every class
        is present; `auroc`, macro over one class versus the rest; `majority`, the accuracy of always naming
        the most frequent training class; `converged`, 1 or 0.
    """
    classes = np.arange(fold.probabilities.shape[1])
    predicted = fold.probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    entered = support > 0 if present_only else np.ones(len(classes), dtype=bool)
    macro = {"precision": precision, "recall": recall, "f1": f1}
    scores = {name: values[entered].mean() for name, values in macro.items()}
    scores["balanced_accuracy"] = recall[support > 0].mean()
    one_hot = truth[:, None] == classes
    mixed = one_hot.any(axis=0) & ~one_hot.all(axis=0)
    if mixed.any():
        scores["auroc"] = roc_auc_score(one_hot[:, mixed], fold.probabilities[:, mixed], average="macro")
    return {**_common_scores(truth, fold), **{name: float(value) for name, value in scores.items()}}


def binary_scores(truth: Indices, fold: Fold) -> dict[str, float]:
    """Scores of one fold of a pair, class 1 the positive one; nothing predicted positive gives precision 0.

    Args:
        truth: [m] of 0 and 1; if just one is present, there is no `auroc`, and `balanced_accuracy` is its recall.
        fold: the probe's probabilities [m, 2].

    Returns:
        As `macro_scores`, with precision, recall and F1 those of the positive class.
    """
    predicted = fold.probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, labels=[0, 1], zero_division=0)
    present = np.unique(truth)
    scores = {"precision": precision[1], "recall": recall[1], "f1": f1[1], "balanced_accuracy": recall[present].mean()}
    if len(present) == 2:
        scores["auroc"] = roc_auc_score(truth, fold.probabilities[:, 1])
    return {**_common_scores(truth, fold), **{name: float(value) for name, value in scores.items()}}


def _common_scores(truth: Indices, fold: Fold) -> dict[str, float]:
    return {
        "accuracy": float((fold.probabilities.argmax(axis=1) == truth).mean()),
        "majority": float((truth == fold.majority).mean()),
        "converged": float(fold.converged),
    }


def _pipeline(task: LinearTask) -> Pipeline:
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
