"""The classes that occur in enough gatherings to be learned and tested."""

import numpy as np

from herbray.tasks.embeddings import Indices, Objects


def select_classes(labels: Objects, units: Indices, at_least: int) -> tuple[Indices, Indices, dict[str, int]]:
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


def count_units(classes: Indices, units: Indices, many: int) -> Indices:
    """How many units each of the classes 0 to `many` - 1 lies in."""
    return np.bincount(class_unit_pairs(classes, units)[0], minlength=many)


def class_unit_pairs(classes: Indices, units: Indices) -> Indices:
    """Each class with each unit that it lies in, once: [2, p]."""
    pairs: Indices = np.stack([classes, units])[:, np.lexsort((units, classes))]
    first = np.ones(pairs.shape[1], dtype=bool)
    first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    return pairs[:, first]
