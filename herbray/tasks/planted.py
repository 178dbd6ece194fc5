"""Detection of wrong names among all names, for specimens whose true name is known: real errors, or planted ones."""

from collections import defaultdict
from typing import Annotated, ClassVar, Final, Literal, final

import numpy as np
from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices, Mask, UnscorableError
from herbray.tasks.interface.outcomes import Measurement, Place, Score
from herbray.tasks.interface.validators import PooledSplits, known_name, refuse_duplicates
from herbray.tasks.methods.classes import explain_too_few, select_classes
from herbray.tasks.methods.confident import summarise
from herbray.tasks.methods.detect import (
    Doubt,
    contributions,
    detection_scores,
    doubt_by_method,
    most_doubtful,
    precision_at,
)
from herbray.tasks.methods.folds import deal_folds
from herbray.tasks.methods.planting import Kind, plant_wrong_names
from herbray.tasks.methods.probe import OutOfFold, ProbeTask, predict_out_of_fold
from herbray.tasks.methods.swaps import pool_outcomes
from herbray.tasks.methods.true_names import true_names
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.wrong_names.calibrated import VOTERS, Votes, calibrate
from herbray.tasks.wrong_names.doubts import Evidence, NameDoubts, doubt_names
from herbray.tasks.wrong_names.error_rates import Kernel
from herbray.tasks.wrong_names.expected import estimate_wrong
from herbray.tasks.wrong_names.kin import find_kin
from herbray.tasks.wrong_names.reliability import measure_reliability

Rank = Literal["genus", "species"]

OURS: Final = "list_"
"""Prefix of the metrics of the list of suspects."""

Sums = defaultdict[str, Floats]


@final
class Planted(ProbeTask):
    """Search for wrong names in all names at once, as a curator would: those of the collection, or planted ones.

    The task needs specimens whose true species is known: synthetic or reviewed ones. Without `plant`, the wrong names
    are those that the collection contains. With `plant`, every sheet first gets its true name, and then a share of them
    a wrong one, see `methods.planting`; each draw is a fold of the scores. The methods of `methods.detect` and the list
    of `herbray suspects` (prefix "list_") are scored in the same way. Specimens are left out if their name has
    fewer gatherings than there are folds, or if their true name is not known.

    The scores are at fold -1, or at the draw: `rows`, `wrong`, `chance` (the share of wrong names, which is the
    precision of a list in random order), `rows_left_out`, `converged`; for each method (prefixes as in
    `detect.METHODS`, and "list_") the scores of `detect.detection_scores`, and `precision_at_N`, the share of wrong
    names among the first N, for each N in `first`. For the list also, for each N, `list_expected_N`, the estimated
    number of wrong names, with `list_low_N` and `list_high_N`, and the true `list_wrong_N`; and `list_error_before` and
    `list_error_after`, the calibration error of the probability that a name is wrong, by the probe as it is and
    calibrated. The scores of detection, except `precision`, have outcomes, over all draws pooled.

    Attributes:
        ranks: at which names are compared: a wrong species of the right genus is correct at rank genus.
        first: numbers of entries that a curator checks; the whole list if it is shorter.
        plant: None, or a key of `planting.KINDS`.
        share: of the sheets that get a wrong name.
        draws: number of plantings, each with folds of its own.
        neighbours: number of neighbours that vote on a name; sheets of the same gathering have no vote.
    """

    parallel_over: ClassVar[str | None] = "ranks"
    checked_over: ClassVar[str | None] = "ranks"

    name: Literal["planted"] = "planted"
    splits: PooledSplits = ("herbarium+species+random",)
    class_weight: Literal["balanced"] | None = None
    max_iter: Annotated[int, Field(ge=1)] = 2500
    ranks: Annotated[
        tuple[Annotated[Rank, known_name(Rank)], ...], Field(min_length=1), AfterValidator(refuse_duplicates)
    ] = ("genus",)
    first: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), AfterValidator(refuse_duplicates)
    ] = (10, 50, 200)
    plant: Kind | None = None
    share: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    draws: Annotated[int, Field(ge=1)] = 3
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each rank; see `TaskSpec.measure`.

        Raises:
            UnscorableError: no true name is known, no name is wrong, every name is wrong, or fewer than two names have
                at least as many gatherings as there are folds.
        """
        rows = embeddings.select_splits(split)
        with threadpool_limits(limits=self.threads):
            return sum((self._rank(rows, split, rank, seed) for rank in self.ranks), Measurement())

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        rows = labels.select_splits(split)
        for rank in self.ranks:
            chosen, given, _ = self._classes(rows, split, rank)
            for draw, filed in self._file(rows.take(chosen), rank, given, seed):
                deal_folds(filed, embeddings_units(rows)[chosen], self.folds, seed + max(0, draw))

    def _classes(self, embeddings: Embeddings, split: str, rank: str) -> tuple[Indices, Indices, Mask]:
        """The rows that are scored, their classes, and which of them have a wrong name."""
        truth = true_names(embeddings.true_species, rank)
        names = truth.copy() if self.plant else embeddings.rank(rank).copy()
        names[[name is None for name in truth]] = None
        rows, given, counts = select_classes(names, embeddings_units(embeddings), self.folds)
        wrong = np.array(truth[rows] != names[rows], dtype=bool)
        where = f"planted, split {split!r}, rank {rank!r}"
        if all(name is None for name in truth):
            raise UnscorableError(
                "no specimen's true name is known", where, "leave the task out if `true_species` is not known"
            )
        if counts["classes"] < 2:
            raise UnscorableError(explain_too_few(counts, self.folds), where, "embed more specimens or lower `folds`")
        if not self.plant and (not wrong.any() or wrong.all()):
            reason = (
                f"of {len(rows)} specimens with a known true name, {int(wrong.sum())} have a wrong name; the "
                "task needs specimens with a wrong name and specimens with the true name"
            )
            raise UnscorableError(reason, where)
        return rows, given, wrong

    def _file(self, chosen: Embeddings, rank: str, classes: Indices, seed: int) -> list[tuple[int, Indices]]:
        """The number of each draw, and the classes [n] under which the specimens are filed in it."""
        if self.plant is None:
            return [(-1, classes)]
        kin = find_kin(chosen, rank, np.arange(len(classes)), classes)
        units = embeddings_units(chosen)
        drawn = [np.random.default_rng([seed, draw]) for draw in range(self.draws)]
        return [
            (draw, plant_wrong_names(classes, kin, units, self.plant, self.share, self.folds, generator))
            for draw, generator in enumerate(drawn)
        ]

    def _rank(self, embeddings: Embeddings, split: str, rank: str, seed: int) -> Measurement:
        rows, classes, wrong = self._classes(embeddings, split, rank)
        chosen = embeddings.take(rows)
        units, features = embeddings_units(chosen), np.asarray(chosen.features)
        near = find_all_nearest(features, units, max(self.neighbours, VOTERS))
        many = self.neighbours
        voting = NearestRows(near.rows, near.neighbours[:, :many], near.cosine[:, :many], near.valid[:, :many])
        kin = find_kin(chosen, rank, np.arange(len(classes)), classes)
        place = Place(self.name, split, f"{rank} ({self.plant})" if self.plant else rank)
        found = Measurement()
        sums: Sums = defaultdict(lambda: np.zeros((2, len(rows))))
        for draw, given in self._file(chosen, rank, classes, seed):
            is_wrong = given != classes if self.plant else wrong
            raw = predict_out_of_fold(chosen.features, given, units, self, seed + max(0, draw))
            kernel = Kernel.of(given, kin)
            votes = Votes(near, np.arange(len(given)), given, kernel.frequency)
            calibrated = calibrate(raw, given, votes, kernel, seed)
            listed = doubt_names(Evidence(given, units, np.arange(len(given)), np.arange(len(kin)), calibrated))
            methods = doubt_by_method(given, raw, voting) | {OURS: Doubt(listed.wrong >= 0.5, listed.wrong)}
            numbers = {"rows": len(rows), "wrong": is_wrong.sum(), "chance": is_wrong.mean()}
            numbers |= {"converged": raw.converged, "rows_left_out": len(embeddings) - len(rows)}
            numbers |= self._list_scores(listed, given, raw, is_wrong, seed)
            found += Measurement(place.scores(numbers, draw))
            for prefix, doubt in methods.items():
                found.scores.extend(self._method(place, prefix, is_wrong, doubt, draw, sums))
        return found + Measurement([], pool_outcomes(place, chosen.specimen_id, sums))

    def _list_scores(
        self, listed: NameDoubts, given: Indices, raw: OutOfFold, wrong: Mask, seed: int
    ) -> dict[str, float]:
        """What the list says of itself, and what is true."""
        order = np.lexsort((listed.rows, -listed.wrong))
        found: dict[str, float] = {}
        for each in estimate_wrong(listed.take(order), self.first, seed):
            values = {"expected": each.value, "low": each.low, "high": each.high}
            values["wrong"] = int(wrong[order[: each.first]].sum())
            found |= {f"{OURS}{name}_{each.first}": value for name, value in values.items()}
        before = 1.0 - summarise(given, raw).own
        found[f"{OURS}error_before"] = measure_reliability(before, wrong).error
        found[f"{OURS}error_after"] = measure_reliability(listed.wrong, wrong).error
        return found

    def _method(self, place: Place, prefix: str, wrong: Mask, doubt: Doubt, draw: int, sums: Sums) -> list[Score]:
        """The scores of a method; adds what its outcomes need to `sums`."""
        scores, parts = detection_scores(wrong, doubt), contributions(wrong, doubt)
        for n in self.first:
            leading = np.zeros(len(wrong))
            leading[most_doubtful(doubt, n)] = 1.0
            scores[f"precision_at_{n}"] = precision_at(wrong, doubt, n)
            parts[f"precision_at_{n}"] = wrong.astype(np.float64), leading
        for name, (value, weight) in parts.items():
            sums[prefix + name] += np.stack([value * weight, weight])
        return place.scores({prefix + name: value for name, value in scores.items()}, draw)
