"""Specimens of names that nobody has taught: a rule that tells them from known ones, measured by leaving names out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from herbray.neighbours.index import VectorIndex
from herbray.tasks.interface.embeddings import Embeddings, Floats, Mask, UnscorableError
from herbray.tasks.methods.folds import iter_fold_rows
from herbray.tasks.methods.probe import ProbeTask, fit_and_predict
from herbray.tasks.naming.confidence import Calibration
from herbray.tasks.naming.rank_model import RankModel

SIGNS: Final = ("distance", "confidence")
"""Signs of an unknown name: distance to the nearest named sheet, and 1 - confidence. Larger values are stranger."""

EITHER: Final = "either"
"""The rule that is used: a sheet is as strange as its stranger sign, in shares of the known sheets below it.

Confidence recognises names that look a little like several known ones, distance what looks like nothing known.
"""


@dataclass(frozen=True)
class Rule:
    """A rule and how well it works.

    Attributes:
        name: one of `SIGNS`, or `EITHER`.
        threshold: a specimen whose value is larger has none of the known names.
        auroc: probability that a specimen of a left-out name has a larger value than one of a known name.
        detected: share of the specimens of left-out names that the rule finds.
        false_alarms: share of the specimens of known names that it takes for unknown.
    """

    name: str
    threshold: float
    auroc: float
    detected: float
    false_alarms: float


@dataclass(frozen=True)
class OpenSet:
    """The rules and what they were measured on.

    Attributes:
        rank: of the names that were left out.
        used: the rule `EITHER`.
        others: the rules of one sign.
        scale: sign → its values for specimens of known names, ascending.
        names: number of names that were left out.
        unknown: number of specimens of left-out names.
        known: number of specimens of known names.
    """

    rank: str
    used: Rule
    others: tuple[Rule, ...]
    scale: Mapping[str, Floats]
    names: int
    unknown: int
    known: int

    def recognise(self, signs: Mapping[str, Floats]) -> Mask:
        """Which specimens look like none of the known names [n], given the values [n] of each sign."""
        return _combine(self.scale, signs) > self.used.threshold


def measure_open_set(
    model: RankModel, embeddings: Embeddings, calibration: Calibration, settings: ProbeTask, alarms: float, seed: int
) -> OpenSet:
    """Leave out each name once, and a fold of gatherings of the others, and see what a probe of the rest makes of them.

    In round g, the probe and the nearest sheets know neither the names of group g nor the gatherings of fold g. Each
    threshold is the value that a share `alarms` of the specimens of known names exceeds.

    Args:
        model: of the rank whose names are left out.
        embeddings: on which the model was fitted.
        calibration: of the rank if no name is given.
        settings: of the probe.
        alarms: accepted share of false alarms.
        seed: of folds and groups.

    Raises:
        UnscorableError: there are too few names to leave some out.
    """
    many = settings.folds
    if len(model.names) < many + 2:
        raise UnscorableError(
            f"{len(model.names)} names; {many + 2} are needed", f"names left out at rank {model.rank!r}"
        )
    group = np.random.default_rng(seed).permutation(len(model.names)) % many
    features = np.asarray(embeddings.features[model.rows])
    values: dict[str, list[Floats]] = {name: [] for name in SIGNS}
    strange = []
    for number, (train, test) in enumerate(iter_fold_rows(model.labels, model.units, many, seed)):
        own = group[model.labels] == number
        fitted = train[~own[train]]
        asked = np.concatenate([np.flatnonzero(own), test[~own[test]]])
        strange.append(own[asked])
        kept = np.unique(model.labels[fitted], return_inverse=True)[1]
        found = fit_and_predict(features, fitted, kept, features, np.sort(asked), settings)
        back = np.argsort(np.argsort(asked))
        sure = np.concatenate([calibration.rate(block)[1] for _, block in found.probabilities.by_rows()])[back]
        values["confidence"].append(1 - sure)
        values["distance"].append(measure_distance(features[fitted], features[asked]))
    is_unknown = np.concatenate(strange)
    signs = {name: np.concatenate(parts) for name, parts in values.items()}
    scale = {name: np.sort(found[~is_unknown]) for name, found in signs.items()}
    return OpenSet(
        model.rank,
        _judge(EITHER, _combine(scale, signs), is_unknown, alarms),
        tuple(_judge(name, found, is_unknown, alarms) for name, found in signs.items()),
        scale,
        len(model.names),
        int(is_unknown.sum()),
        int((~is_unknown).sum()),
    )


def _combine(scale: Mapping[str, Floats], signs: Mapping[str, Floats]) -> Floats:
    """The largest share, over the signs, of known specimens with smaller values; what is beyond all has more than 1."""
    shares = []
    for name, known in scale.items():
        beyond = signs[name] > known[-1]
        shares.append(np.searchsorted(known, signs[name], side="left") / len(known) + beyond)
    found: Floats = np.max(shares, axis=0)
    return found


def measure_distance(known: npt.NDArray[np.float32], asked: npt.NDArray[np.float32]) -> Floats:
    """Distance [q] of each asked row to the nearest known row, 1 - cosine."""
    return 1.0 - VectorIndex(known).search(asked, 1).cosine[:, 0]


def _judge(name: str, values: Floats, is_unknown: Mask, alarms: float) -> Rule:
    threshold = float(np.quantile(values[~is_unknown], 1 - alarms, method="higher"))
    beyond = values > threshold
    return Rule(
        name,
        threshold,
        float(roc_auc_score(is_unknown, values)),
        float(beyond[is_unknown].mean()),
        float(beyond[~is_unknown].mean()),
    )
