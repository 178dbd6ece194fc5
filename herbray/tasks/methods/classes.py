"""The classes that occur in enough gatherings to be learned and tested."""

import numpy as np
import numpy.typing as npt

from herbray.tasks.interface.columns import Labels
from herbray.tasks.interface.embeddings import Indices


def select_classes(
    labels: Labels | npt.ArrayLike, units: Indices, at_least: int
) -> tuple[Indices, Indices, dict[str, int]]:
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
    column = Labels.of(labels)
    named = column.known()
    codes = column.codes[named].astype(np.intp)
    gatherings = count_units(codes, units[named], len(column.names))
    kept = gatherings >= max(1, at_least)
    keep = kept[codes]
    renumber = np.cumsum(kept) - 1
    counts = {
        "classes": int(kept.sum()),
        "rows": int(keep.sum()),
        "classes_left_out": int((gatherings > 0).sum()) - int(kept.sum()),
        "rows_left_out": len(named) - int(keep.sum()),
        "rows_undetermined": len(column) - len(named),
    }
    return named[keep], renumber[codes[keep]], counts


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
