"""The classes that occur in enough gatherings to be learned and tested."""

import numpy as np

from herbray.tasks.interface.embeddings import Indices, Objects


def select_classes(labels: Objects, units: Indices, at_least: int) -> tuple[Indices, Indices, dict[str, int]]:
    """Select the rows whose class has at least `at_least` units; depends only on labels and units.

    Units are counted instead of rows, because folds keep a unit together: a class of one unit could be held out but not
    learned.

    Args:
        labels: [n] str, None where undetermined.
        units: [n] codes of rows that must stay together, such as the gathering; see `units.gathering_codes`.
        at_least: number of units that a class needs.

    Returns:
        The rows [m], ascending; their classes [m], numbered in alphabetical order; and the counts `classes`, `rows`,
        `classes_left_out`, `rows_left_out` (of classes with too few units), `rows_undetermined`.
    """
    named = np.flatnonzero([label is not None for label in labels])
    names, inverse = np.unique(labels[named].astype(str), return_inverse=True)
    kept = count_units(inverse, units[named], len(names)) >= at_least
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


def explain_too_few(counts: dict[str, int], at_least: int) -> str:
    """Explain why the names of a rank cannot be cross-validated: fewer than two have enough gatherings.

    Args:
        counts: counts from `select_classes`.
        at_least: number of units that a class needs.
    """
    known = counts["classes"] + counts["classes_left_out"]
    if not known:
        return "no specimen has a name at this rank"
    classes = f"{counts['classes']} of {known} classes"
    return f"{classes} have the {at_least} gatherings that {at_least} folds need, but at least two must"


def count_units(classes: Indices, units: Indices, many: int) -> Indices:
    """Number of units of each of the classes 0 to `many` - 1."""
    return np.bincount(class_unit_pairs(classes, units)[0], minlength=many)


def class_unit_pairs(classes: Indices, units: Indices) -> Indices:
    """Every pair of a class and a unit in which it occurs, once: [2, p]."""
    pairs: Indices = np.stack([classes, units])[:, np.lexsort((units, classes))]
    first = np.ones(pairs.shape[1], dtype=bool)
    first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return pairs[:, first]
