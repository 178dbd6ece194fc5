"""How probably each name is wrong, from calibrated probabilities and from all sheets of a gathering."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from herbray.tasks.interface.embeddings import Floats, Indices, Mask
from herbray.tasks.methods.confident import summarise
from herbray.tasks.wrong_names.calibrated import Calibrated
from herbray.tasks.wrong_names.conflicts import Conflict, estimate_sheet_rate, find_conflicts, weigh_names
from herbray.tasks.wrong_names.error_rates import Terms, fit_rate

_STRENGTH: Final = 50.0  # groups that the rate of all rows is worth


@dataclass(frozen=True, eq=False)
class Evidence:
    """The names of a collection, and what the probes say of some of them.

    Attributes:
        names: [n] code of the name of each row; -1 for none.
        units: [n] code of its gathering.
        judged: [m] the rows that the probes have judged, ascending.
        classes: [k] the name of each class of the probes, ascending.
        probabilities: calibrated, of the m rows.
    """

    names: Indices
    units: Indices
    judged: Indices
    classes: Indices
    probabilities: Calibrated

    @property
    def given(self) -> Indices:
        """The class of each judged row."""
        return np.searchsorted(self.classes, self.names[self.judged])


@dataclass(frozen=True, eq=False)
class Groups:
    """The sheets of one gathering, all under one name: they are right or wrong together.

    Attributes:
        terms: of g groups.
        several: [g] whether the gathering has several sheets.
        rate: at which the names of all rows are wrong.
    """

    terms: Terms
    several: Mask
    rate: float

    def find_wrong(self, weights: Floats | None = None) -> Floats:
        """Probability [g] that each name is wrong.

        The rate is fitted apart for gatherings of one and of several sheets: a slip gives one sheet another name than
        the others have, so where all sheets agree, fewer names are wrong.

        Args:
            weights: [g] of the groups in the fit; None: 1.
        """
        found = np.empty(len(self.several))
        for part in (np.flatnonzero(~self.several), np.flatnonzero(self.several)):
            terms = self.terms.take(part)
            found[part] = terms.find_wrong(
                fit_rate(terms, self.rate, _STRENGTH, None if weights is None else weights[part])
            )
        return found


@dataclass(frozen=True, eq=False)
class NameDoubts:
    """The names that can be judged: by a probe, or because their gathering has several names.

    Attributes:
        rows: [m] ascending.
        wrong: [m] probability that the name is wrong.
        own: [m] calibrated probability of the name given the images of the gathering.
        suggested: [m] code of the most probable other name.
        suggested_probability: [m] of it.
        conflict: [m] whether the gathering has several names.
        group: [m] number of the group; -1 for rows of a conflict.
        groups: all groups.
    """

    rows: Indices
    wrong: Floats
    own: Floats
    suggested: Indices
    suggested_probability: Floats
    conflict: Mask
    group: Indices
    groups: Groups

    def take(self, order: Indices) -> "NameDoubts":
        """Some rows, in another order."""
        rows = {name: getattr(self, name)[order] for name in self.__dataclass_fields__ if name != "groups"}
        return NameDoubts(**rows, groups=self.groups)


def doubt_names(evidence: Evidence) -> NameDoubts:
    """Judge all names that can be judged."""
    conflicts = find_conflicts(evidence.names, evidence.units)
    in_conflict = np.zeros(len(evidence.names), dtype=bool)
    for each in conflicts:
        in_conflict[each.rows] = True
    found = _judge_groups(evidence, in_conflict)
    _judge_conflicts(found, evidence, conflicts)
    listed = in_conflict.copy()
    listed[evidence.judged] = True
    return found.take(np.flatnonzero(listed))


def _judge_groups(evidence: Evidence, in_conflict: Mask) -> NameDoubts:
    """The names of all rows; those of conflicts, and those that no probe has judged, are still to be judged."""
    given, size = evidence.given, len(evidence.names)
    summary, kin = summarise(given, evidence.probabilities), _read_kin(evidence, given)
    undisputed = np.flatnonzero(~in_conflict[evidence.judged])
    rows = evidence.judged[undisputed]
    _, first, group, many = np.unique(evidence.units[rows], return_index=True, return_inverse=True, return_counts=True)
    own, near = (np.bincount(group, values[undisputed]) / many for values in (summary.own, kin))
    groups = Groups(
        evidence.probabilities.kernel.terms(given[undisputed][first], own, near), many > 1, evidence.probabilities.rate
    )
    numbers, suggested = np.full((2, size), -1)
    wrong, probability, other = np.zeros((3, size))
    numbers[rows], suggested[evidence.judged] = group, evidence.classes[summary.rival]
    wrong[rows], other[evidence.judged] = groups.find_wrong()[group], summary.rival_probability
    probability[rows] = own[group]
    return NameDoubts(np.arange(size), wrong, probability, suggested, other, in_conflict, numbers, groups)


def _read_kin(evidence: Evidence, given: Indices) -> Floats:
    """The probability [m] of the kin of each given name."""
    found = np.empty(len(given))
    for rows, block in evidence.probabilities.blocks():
        kernel = evidence.probabilities.kernel
        found[rows] = kernel.sum_kin(block)[np.arange(len(rows)), kernel.kin[given[rows]]]
    return found


def _judge_conflicts(found: NameDoubts, evidence: Evidence, conflicts: Sequence[Conflict]) -> None:
    """Write what is known of the names of the conflicts into `found`."""
    named = np.flatnonzero(evidence.names >= 0)
    _, unit, many = np.unique(evidence.units[named], return_inverse=True, return_counts=True)
    sheet = estimate_sheet_rate(conflicts, int((many[unit] > 1).sum()))
    gathering = evidence.probabilities.rate
    frequency = np.bincount(evidence.names[named]) / max(1, len(named))
    for each, probability in zip(conflicts, _read_conflicts(evidence, conflicts, frequency), strict=True):
        weights = weigh_names(each, probability, frequency[each.names], sheet, gathering)
        found.wrong[each.rows], found.own[each.rows] = 1.0 - weights[each.which], probability[each.which]
        for row, mine in zip(each.rows, each.which, strict=True):
            others = np.where(np.arange(len(weights)) == mine, -1.0, weights)
            best = int(others.argmax())
            if (
                others[best] >= 1.0 - weights.sum() or found.suggested[row] < 0
            ):  # else no name of the gathering is right
                found.suggested[row], found.suggested_probability[row] = each.names[best], probability[best]


def _read_conflicts(evidence: Evidence, conflicts: Sequence[Conflict], frequency: Floats) -> list[Floats]:
    """The probabilities of the names of each conflict, from its judged sheets; of other names, their frequency."""
    known = [np.isin(each.names, evidence.classes) for each in conflicts]
    place = np.full(len(evidence.names), -1)
    place[evidence.judged] = np.arange(len(evidence.judged))
    at: dict[int, tuple[int, Indices]] = {}
    for number, (each, inside) in enumerate(zip(conflicts, known, strict=True)):
        classes = np.searchsorted(evidence.classes, each.names[inside])
        at |= {row: (number, classes) for row in place[each.rows].tolist() if row >= 0}
    sums = [np.zeros(int(each.sum())) for each in known]
    many = np.zeros(len(conflicts))
    for rows, block in evidence.probabilities.blocks():
        for line in np.flatnonzero(np.isin(rows, np.fromiter(at, np.intp, len(at)))):
            number, classes = at[int(rows[line])]
            sums[number] += block[line, classes]
            many[number] += 1
    found = []
    for each, inside, total, judged in zip(conflicts, known, sums, many, strict=True):
        probability = frequency[each.names]
        if judged:
            probability[inside] = total / judged
        found.append(probability / max(1.0, float(probability.sum())))
    return found
