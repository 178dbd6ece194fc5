"""Calibrated confidence: how often a suggested name is right, measured on gatherings that no probe had seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from herbray.probes.calibration import (
    Monotone,
    apply_temperature,
    brier,
    calibration_error,
    fit_isotonic,
    fit_temperature,
)
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices, Mask, Objects, UnscorableError
from herbray.tasks.judged import measure_share
from herbray.tasks.naming.rank_model import NOTHING, RankModel, restrict

_CELLS: Final = 2**23  # probabilities on which a temperature is fitted

Method = Literal["temperature", "isotonic"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Turns the probabilities of the possible names into the confidence in the most probable one."""

    method: Method
    temperature: float
    curve: Monotone

    def rate(self, restricted: Floats) -> tuple[Indices, Floats]:
        """The most probable of the possible names [b], and the confidence in it [b]; 0 if no name is possible."""
        top = restricted.argmax(axis=1)
        if self.method == "temperature":
            confidence = _tempered_top(restricted, self.temperature)
        else:
            confidence = self.curve.apply(restricted.max(axis=1))
        return top, np.where(restricted.any(axis=1), confidence, 0.0)


@dataclass(frozen=True, eq=False)
class Trust:
    """How far suggestions at a rank can be trusted, if a wider name is given or none is.

    Attributes:
        rank: of the suggested names.
        given: the wider rank whose name is given; `NOTHING`: none.
        calibration: fitted on all rows.
        confidence: [n] calibrated on other folds than the row's own.
        hit: [n] whether the suggestion was right.
        units: [n] gatherings.
        errors: Brier score of each method and of the raw probabilities, out of fold.
        error_before: expected calibration error of the raw probabilities.
        error_after: of the calibrated confidence, out of fold.
    """

    rank: str
    given: str
    calibration: Calibration
    confidence: Floats
    hit: Mask
    units: Indices
    errors: dict[str, float]
    error_before: float
    error_after: float


@dataclass(frozen=True)
class Threshold:
    """The least confidence at which suggestions are accepted.

    Attributes:
        confidence: infinite if no confidence gives the wanted accuracy.
        coverage: share of the named specimens that are accepted.
        accuracy: among them; NaN if there are none.
        low: lower end of its interval of 95 %, in which each gathering counts once.
        high: upper end.
    """

    confidence: float
    coverage: float
    accuracy: float = np.nan
    low: float = np.nan
    high: float = np.nan


def measure_trust(model: RankModel, embeddings: Embeddings, given: str) -> Trust:
    """Calibrate a rank on its out-of-fold predictions; the better of temperature and isotonic regression is used.

    Each fold is calibrated by the others, so the figures hold for gatherings that neither probe nor calibration saw.

    Args:
        model: of the rank.
        embeddings: on which the model was fitted.
        given: a wider rank, whose true name restricts the names; or `NOTHING`.

    Raises:
        UnscorableError: no specimen has a name at the wider rank.
    """
    wider = embeddings.rank(given)[model.rows] if given != NOTHING else np.full(len(model.rows), NOTHING, dtype=object)
    known = wider != None  # noqa: E711  (element by element)
    if not known.any():
        raise UnscorableError(f"no named sheet has a name at rank {given!r}", f"rank {model.rank!r}")
    folds = _predict_folds(model, wider, known, given)
    count = sum(len(fold.rows) for fold in folds)
    units = np.concatenate([model.units[fold.rows] for fold in folds])
    hit, raw = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("hit", "raw"))
    found = {name: np.empty(count) for name in ("temperature", "isotonic")}
    at = 0
    for number, fold in enumerate(folds):
        others = [other for place, other in enumerate(folds) if place != number]
        temperature, curve = _fit(others)
        found["temperature"][at : at + len(fold.rows)] = _temper_fold(model, fold, wider, given, temperature)
        found["isotonic"][at : at + len(fold.rows)] = curve.apply(fold.raw)
        at += len(fold.rows)
    errors = {name: brier(values, hit) for name, values in found.items()}
    method: Method = "temperature" if errors["temperature"] <= errors["isotonic"] else "isotonic"
    return Trust(
        model.rank,
        given,
        Calibration(method, *_fit(folds)),
        found[method],
        hit,
        units,
        {"raw": brier(raw, hit), **errors},
        calibration_error(raw, hit),
        calibration_error(found[method], hit),
    )


def choose_threshold(trust: Trust, accuracy: float) -> Threshold:
    """The threshold that accepts most specimens, at this accuracy or more among those accepted.

    It accepts so many that one mistake would not break the accuracy: 20 for 95 %. Fewer would say nothing.
    """
    order, ends = _order(trust)
    confidence, right = trust.confidence[order], np.cumsum(trust.hit[order])
    counts = np.arange(1, len(order) + 1)
    enough = (1 - accuracy) * counts >= 1 - 1e-9
    good = np.flatnonzero(ends & enough & (right >= accuracy * counts))
    if not len(good):
        return Threshold(np.inf, 0.0)
    last = int(good[-1])
    places = np.empty(len(order), np.intp)
    places[order] = counts
    wrong = measure_share(places, ~trust.hit, trust.units, 1, last + 1)
    if wrong is None:
        raise ValueError("no specimen is accepted")  # the first is
    coverage = (last + 1) / len(order)
    return Threshold(float(confidence[last]), coverage, 1 - wrong.value, 1 - wrong.high, 1 - wrong.low)


def draw_curve(trust: Trust) -> tuple[Floats, Floats]:
    """Coverage [j], ascending, and accuracy [j] among the most confident specimens of that coverage.

    There is a point for each confidence: equally confident specimens are accepted together.
    """
    order, ends = _order(trust)
    counts = np.arange(1, len(order) + 1)
    return (counts / max(1, len(order)))[ends], (np.cumsum(trust.hit[order]) / counts)[ends]


def _order(trust: Trust) -> tuple[Indices, Mask]:
    """The rows [n], most confident first, and which of them are the last of equally confident ones."""
    order = np.argsort(-trust.confidence, kind="stable")
    confidence = trust.confidence[order]
    return order, np.r_[confidence[:-1] > confidence[1:], np.ones(min(1, len(order)), dtype=bool)]


@dataclass(frozen=True, eq=False)
class _Fold:
    """Out-of-fold predictions of one fold: rows of the model [n], whether they are right, and their probabilities.

    `sample` holds restricted probabilities [s, k] of some of the rows whose true name is possible, `truth` [s] it.
    """

    number: int
    rows: Indices
    hit: Mask
    raw: Floats
    sample: Floats
    truth: Indices


def _predict_folds(model: RankModel, wider: Objects, known: Mask, given: str) -> list[_Fold]:
    found = []
    most = max(1, _CELLS // (len(model.names) * len(model.out_of_fold.folds)))
    for number, fold in enumerate(model.out_of_fold.folds):
        rows, hits, raws, samples, truths, left = [], [], [], [], [], most
        for part, block in fold.probabilities.by_rows():
            here = fold.test[part]
            keep = known[here]
            here = here[keep]
            restricted = restrict(block[keep], model.allow(given, wider[here]))
            rows.append(here)
            hits.append(restricted.argmax(axis=1) == model.labels[here])
            raws.append(restricted.max(axis=1, initial=0.0))
            some = np.arange(min(left, len(here)))
            left -= len(some)
            samples.append(restricted[some])
            truths.append(model.labels[here][some])
        found.append(_Fold(number, *(np.concatenate(each) for each in (rows, hits, raws, samples, truths))))
    return [fold for fold in found if len(fold.rows)]


def _fit(folds: Sequence[_Fold]) -> tuple[float, Monotone]:
    if not folds:
        return 1.0, fit_isotonic(np.empty(0), np.empty(0, bool))
    sample, truth = np.concatenate([f.sample for f in folds]), np.concatenate([f.truth for f in folds])
    raw, hit = np.concatenate([f.raw for f in folds]), np.concatenate([f.hit for f in folds])
    return fit_temperature(sample, truth), fit_isotonic(raw, hit)


def _temper_fold(model: RankModel, fold: _Fold, wider: Objects, given: str, temperature: float) -> Floats:
    """Tempered probabilities of the suggestions of a fold [n], from blocks that are made again: all may not fit."""
    source = model.out_of_fold.folds[fold.number]
    found = []
    for part, block in source.probabilities.by_rows():
        here = source.test[part]
        keep = np.isin(here, fold.rows)
        allowed = model.allow(given, wider[here[keep]])
        found.append(_tempered_top(restrict(block[keep], allowed), temperature))
    return np.concatenate(found)


def _tempered_top(restricted: Floats, temperature: float) -> Floats:
    """The largest probability of each row at a temperature, among the possible names."""
    tempered = np.where(restricted > 0, apply_temperature(restricted, temperature), 0.0)
    total = tempered.sum(axis=1)
    top: Floats = np.divide(tempered.max(axis=1, initial=0.0), total, out=np.zeros(len(total)), where=total > 0)
    return top
