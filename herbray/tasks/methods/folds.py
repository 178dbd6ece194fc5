"""Folds of a cross-validation that keep gatherings together."""

import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import StratifiedKFold

from herbray.tasks.embeddings import Indices, UnscorableError
from herbray.tasks.methods.classes import class_unit_pairs, count_units


def deal_folds(labels: Indices, units: Indices, many: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Rows to learn from and rows held out, fold by fold: all of `cross_validate` that follows from labels.

    Raises:
        UnscorableError: as `cross_validate`.
    """
    counts = np.bincount(labels)
    apart = count_units(labels, units, len(counts))
    if len(counts) < 2 or counts.min() < many or apart.min() < 2:
        raise UnscorableError(
            f"rows a class {counts.tolist()[:20]}, gatherings a class {apart.tolist()[:20]}: {many}-fold "
            f"cross-validation needs two classes of at least {many} rows, in two gatherings or more"
        )
    return list(_train_and_test_rows(labels, units, many, seed))


def _train_and_test_rows(labels: Indices, units: Indices, many: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Rows to learn from and rows held out, fold by fold: units are dealt by the class of their first row."""
    _, firsts, unit = np.unique(units, return_index=True, return_inverse=True)
    heads = np.sort(firsts)
    unit = np.argsort(np.argsort(firsts))[unit]  # units in the order of their first rows, not of their codes
    fold = _spread_classes(_stratify(labels[heads], many, seed), class_unit_pairs(labels, unit), many)
    for number in range(many):
        out = fold[unit] == number
        yield np.flatnonzero(~out), np.flatnonzero(out)


def _stratify(heads: Indices, many: int, seed: int) -> Indices:
    """The fold of each unit, given the class of each: scikit-learn's stratified folds."""
    if len(heads) < many:
        raise UnscorableError(f"{len(heads)} gatherings for {many} folds: lower `folds`")
    if np.bincount(heads).max() < many:  # no class is first in so many units: scikit-learn would refuse
        heads = np.zeros_like(heads)
    fold = np.empty_like(heads)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # of units; its rows were counted
        splits = StratifiedKFold(many, shuffle=True, random_state=seed).split(heads, heads)
        for number, (_, held) in enumerate(splits):
            fold[held] = number
    return fold


def _spread_classes(fold: Indices, memberships: Indices, many: int) -> Indices:
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
    while len(alone := _classes_in_one_fold(fold, memberships)):
        moved = _move_one_unit(fold, memberships, many, alone)
        if moved is None:
            raise UnscorableError(
                f"{len(alone)} of {memberships[0].max() + 1} classes would be held out whole by one of {many} folds, "
                "since their gatherings hold many classes each: change `folds`"
            )
        fold = moved
    return fold


def _classes_in_one_fold(fold: Indices, memberships: Indices) -> Indices:
    """The classes whose units all lie in one fold."""
    classes, units = memberships
    return np.flatnonzero(count_units(classes, fold[units], int(classes.max()) + 1) == 1)


def _move_one_unit(fold: Indices, memberships: Indices, many: int, alone: Indices) -> Indices | None:
    """The folds after the first move, of a unit of one of the classes that lie alone, that leaves fewer of them.

    Emptier folds are tried first; None where no move helps.
    """
    classes, units = memberships
    for unit in np.unique(units[np.isin(classes, alone)]):
        for number in np.argsort(np.bincount(fold, minlength=many), kind="stable"):
            moved = fold.copy()
            moved[unit] = number
            if len(_classes_in_one_fold(moved, memberships)) < len(alone):
                return moved
    return None
