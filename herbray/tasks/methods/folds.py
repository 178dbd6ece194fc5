"""Folds of a cross-validation that keep gatherings together."""

import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import StratifiedKFold

from herbray.tasks.interface.embeddings import Indices, UnscorableError
from herbray.tasks.methods.classes import class_unit_pairs, count_units


def deal_folds(labels: Indices, units: Indices, many: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Training rows and held-out rows of each fold: the part of `probe.cross_validate` that needs only labels.

    Raises:
        UnscorableError: as in `probe.cross_validate`.
    """
    counts = np.bincount(labels)
    gatherings = count_units(labels, units, len(counts))
    if len(counts) < 2 or counts.min() < many or gatherings.min() < 2:
        raise UnscorableError(
            f"rows per class {counts.tolist()[:20]}, gatherings per class {gatherings.tolist()[:20]}: {many}-fold "
            f"cross-validation needs two classes of at least {many} rows, in two or more gatherings each"
        )
    return list(iter_fold_rows(labels, units, many, seed))


def iter_fold_rows(labels: Indices, units: Indices, many: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Training rows and held-out rows of each fold; units are stratified by the class of their first row."""
    _, firsts, unit = np.unique(units, return_index=True, return_inverse=True)
    heads = np.sort(firsts)
    unit = np.argsort(np.argsort(firsts))[unit]  # numbered in the order of their first rows, not of their codes
    fold = _spread_classes(_stratify(labels[heads], many, seed), class_unit_pairs(labels, unit), many)
    for number in range(many):
        out = fold[unit] == number
        yield np.flatnonzero(~out), np.flatnonzero(out)


def _stratify(heads: Indices, many: int, seed: int) -> Indices:
    """The fold of each unit, given the class of each unit, from scikit-learn's stratified folds."""
    if len(heads) < many:
        raise UnscorableError(f"{len(heads)} gatherings for {many} folds: lower `folds`")
    if np.bincount(heads).max() < many:  # no class is first in that many units: scikit-learn would refuse
        heads = np.zeros_like(heads)
    fold = np.empty_like(heads)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # counts units; the rows were counted above
        splits = StratifiedKFold(many, shuffle=True, random_state=seed).split(heads, heads)
        for number, (_, held) in enumerate(splits):
            fold[held] = number
    return fold


def _spread_classes(fold: Indices, memberships: Indices, many: int) -> Indices:
    """Move units to other folds until every class occurs in at least two folds, so that every probe can learn it.

    A unit with several classes is stratified by one of them, so all units of another class may end up in one fold by
    chance. A move can always fix such a class if one of its units contains fewer than `many` - 1 other classes: each of
    these rules out at most one of the `many` - 1 other folds.

    Args:
        fold: [u] fold of each unit.
        memberships: [2, p] classes and their units.
        many: number of folds.

    Raises:
        UnscorableError: no unit can be moved.
    """
    while len(stranded := _classes_in_one_fold(fold, memberships)):
        moved = _move_one_unit(fold, memberships, many, stranded)
        if moved is None:
            raise UnscorableError(
                f"{len(stranded)} of {memberships[0].max() + 1} classes would be held out whole by one of {many} "
                "folds, because each of their gatherings contains many classes: change `folds`"
            )
        fold = moved
    return fold


def _classes_in_one_fold(fold: Indices, memberships: Indices) -> Indices:
    """The classes whose units are all in one fold."""
    classes, units = memberships
    return np.flatnonzero(count_units(classes, fold[units], int(classes.max()) + 1) == 1)


def _move_one_unit(fold: Indices, memberships: Indices, many: int, stranded: Indices) -> Indices | None:
    """The folds after moving one unit of the classes `stranded` so that fewer classes are in one fold.

    Smaller folds are tried first. None if no move helps.
    """
    classes, units = memberships
    for unit in np.unique(units[np.isin(classes, stranded)]):
        for number in np.argsort(np.bincount(fold, minlength=many), kind="stable"):
            moved = fold.copy()
            moved[unit] = number
            if len(_classes_in_one_fold(moved, memberships)) < len(stranded):
                return moved
    return None
