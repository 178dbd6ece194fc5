"""Planted mislabels: swap the names of a share of each genus of a pair, and search for the swapped names."""

from abc import ABC
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.interface.columns import Ids
from herbray.tasks.interface.embeddings import Embeddings, Floats, Indices
from herbray.tasks.interface.outcomes import Measurement, Outcome, Place
from herbray.tasks.interface.validators import refuse_duplicates
from herbray.tasks.methods.detect import contributions, detection_scores, doubt_by_method
from herbray.tasks.methods.folds import deal_folds
from herbray.tasks.methods.pairs import Pair, choose_pairs, is_known_wrong, select_pair
from herbray.tasks.methods.probe import ProbeTask, predict_draws
from herbray.tasks.methods.units import embeddings_units


class SwapTask(ProbeTask, ABC):
    """A task that swaps names of a pair of genera and searches for them.

    The protocol is that of Walker et al. 2022, with several seeded draws instead of a single unseeded one. Confident
    learning is compared with two simpler methods, see `methods.detect`. The `fold` of a score is the draw.

    Specimens whose true genus is known to differ from the filed genus are left out: if detected, they would count as
    false alarms. At fold -1: `rows`, `swapped`, `rows_left_out`, and `similar` (1 if the pair is "similar", else 0).
    For the scores of each draw see `detect.detection_scores`; metrics of the simpler methods have the prefix `oof_` or
    `knn_`.

    The outcomes are `tpr`, `fpr`, `auroc` and `precision_at_n` of each method, over all draws pooled.

    Attributes:
        pairs: the genera; if empty, `pairs.choose_pairs` takes them from the labels.
        draws: number of draws.
        neighbours: number of neighbours that vote on a name; sheets of the same gathering have no vote.
    """

    checked_over: ClassVar[str | None] = "pairs"

    max_iter: Annotated[int, Field(ge=1)] = 2500
    pairs: Annotated[tuple[Pair, ...], AfterValidator(refuse_duplicates)] = ()
    draws: Annotated[int, Field(ge=1)] = 20
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def _check_pairs(self, labels: Embeddings, split: str, shares: Sequence[float], seed: int) -> None:
        """Check the labels for `_measure_pairs`: in every draw, every probe must have two classes to learn."""
        for _, sound, truth, _ in self._sound(labels, split):
            units = embeddings_units(sound)
            for share in shares:
                for draw in range(self.draws):
                    deal_folds(swap_labels(truth, share, seed, draw), units, self.folds, seed + draw)

    def _sound(self, embeddings: Embeddings, split: str) -> Iterator[tuple[Pair, Embeddings, Indices, int]]:
        """Each pair, its specimens that are not known to be wrong, their classes, and the number left out."""
        filed = embeddings.select_splits(split)
        for pair in self.pairs or choose_pairs(filed, self.folds):
            where = f"{self.name}, split {split!r}"
            of_pair = filed.take(select_pair(filed, pair, self.folds, where)[0])
            sound = of_pair.take(~is_known_wrong(of_pair))
            yield pair, sound, select_pair(sound, pair, self.folds, where)[1], len(of_pair) - len(sound)

    def _measure_pairs(
        self, embeddings: Embeddings, split: str, shares: Sequence[tuple[float, str]], seed: int
    ) -> Measurement:
        """Measure every pair at every share; each share comes with the suffix of its level."""
        found = Measurement()
        for pair, sound, truth, left_out in self._sound(embeddings, split):
            near = find_all_nearest(np.asarray(sound.features), embeddings_units(sound), self.neighbours)
            counts = {"rows": len(truth), "rows_left_out": left_out, "similar": pair.kind == "similar"}
            for share, suffix in shares:
                place = Place(self.name, split, pair.level + suffix)
                found += Measurement(place.scores({"swapped": sum(swap_counts(truth, share))} | counts))
                found += self._measure_draws(place, sound, truth, near, share, seed)
        return found

    def _measure_draws(
        self, place: Place, sound: Embeddings, truth: Indices, near: NearestRows, share: float, seed: int
    ) -> Measurement:
        scores = []
        sums: dict[str, Floats] = defaultdict(lambda: np.zeros((2, len(truth))))
        numbers = range(self.draws)
        labels = [swap_labels(truth, share, seed, draw) for draw in numbers]
        seeds = [seed + draw for draw in numbers]
        predicted = predict_draws(sound.features, labels, embeddings_units(sound), self, seeds)
        for draw, given, probabilities in zip(numbers, labels, predicted, strict=True):
            wrong = given != truth
            for prefix, doubt in doubt_by_method(given, probabilities, near).items():
                found = {prefix + name: value for name, value in detection_scores(wrong, doubt).items()}
                scores += place.scores(found, draw)
                for name, (value, weight) in contributions(wrong, doubt).items():
                    sums[prefix + name] += np.stack([value * weight, weight])
            scores += place.scores({"converged": probabilities.converged}, draw)
        return Measurement(scores, pool_outcomes(place, sound.specimen_id, sums))


def swap_labels(truth: Indices, share: float, seed: int, draw: int = 0) -> Indices:
    """Swap the labels of a share of each of the two classes, at least one row of each.

    Args:
        truth: [n] 0 or 1.
        share: share of each class to swap.
        seed: seed of all draws.
        draw: number of the draw; draws are independent of each other.
    """
    generator = np.random.default_rng([seed, draw])
    given = truth.copy()
    for label, count in enumerate(swap_counts(truth, share)):
        rows = generator.choice(np.flatnonzero(truth == label), size=count, replace=False)
        given[rows] = 1 - label
    return given


def swap_counts(truth: Indices, share: float) -> list[int]:
    """Number of swapped rows of each of the two classes."""
    return [max(1, round(share * int(size))) for size in np.bincount(truth, minlength=2)]


def pool_outcomes(place: Place, ids: Ids, sums: dict[str, Floats]) -> list[Outcome]:
    """The outcomes of all draws together.

    Args:
        place: of the outcomes.
        ids: [n].
        sums: metric → [2, n], the sums over draws of value times weight, and of weight.
    """
    found = []
    for metric, (value, weight) in sums.items():
        part = weight > 0  # depends only on the draws
        mean = value[part] / weight[part]
        lower = metric.endswith("fpr")
        found += place.outcomes(metric, ids[part], mean, weight[part], lower_is_better=lower)
    return found
