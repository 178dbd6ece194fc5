"""Planted mislabels: the names of a share of each genus of a pair are swapped and looked for."""

from abc import ABC
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from herbray.neighbours.search import NearestRows, find_all_nearest
from herbray.tasks.base import Embeddings, Floats, Indices, once
from herbray.tasks.methods.detect import contributions, detection_scores, every_doubt
from herbray.tasks.methods.pairs import Pair, choose, known_wrong, members
from herbray.tasks.methods.probe import ProbeTask, dealt, out_of_fold
from herbray.tasks.methods.units import embeddings_units
from herbray.tasks.outcomes import Measured, Outcome, Place


class SwapTask(ProbeTask, ABC):
    """A task that swaps names of a pair of genera and looks for them.

    Protocol of Walker et al. 2022 with seeded draws in place of a single unseeded one. Confident learning stands beside
    two plainer rivals, see `detect`. The `fold` of a score is its draw.

    Specimens whose true genus is known to differ from the one they are filed under take no part: found, they would
    count as false alarms. At fold -1: `rows`, `swapped`, `rows_left_out` and `similar`, 1 where the pair is of that
    kind. Of each draw: see `detect.detection_scores`; metrics of the rivals bear the prefix `oof_` or `knn_`.

    Outcomes are `tpr`, `fpr`, `auroc` and `precision_at_n` of each method, all draws pooled.

    Attributes:
        pairs: the genera; empty lets `pairs.choose` take them from the labels.
        draws: how often.
        neighbours: how many vote on a name; sheets of the own gathering have no vote.
    """

    checked_over: ClassVar[str | None] = "pairs"

    max_iter: Annotated[int, Field(ge=1)] = 2500
    pairs: Annotated[tuple[Pair, ...], AfterValidator(once)] = ()
    draws: Annotated[int, Field(ge=1)] = 20
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10

    def _check_pairs(self, labels: Embeddings, split: str, shares: Sequence[float], seed: int) -> None:
        """What `_measure_pairs` asks of labels: in every draw each probe has two classes to learn from."""
        for _, sound, truth, _ in self._sound(labels, split):
            units = embeddings_units(sound)
            for share in shares:
                for draw in range(self.draws):
                    dealt(swap_labels(truth, share, seed, draw), units, self.folds, seed + draw)

    def _sound(self, embeddings: Embeddings, split: str) -> Iterator[tuple[Pair, Embeddings, Indices, int]]:
        """Each pair, its specimens that are not known to be wrong, their classes, and how many are left out."""
        filed = embeddings.of_split(split)
        for pair in self.pairs or choose(filed, self.folds):
            where = f"{self.name}, split {split!r}"
            of_pair = filed.take(members(filed, pair, self.folds, where)[0])
            sound = of_pair.take(~known_wrong(of_pair))
            yield pair, sound, members(sound, pair, self.folds, where)[1], len(of_pair) - len(sound)

    def _measure_pairs(
        self, embeddings: Embeddings, split: str, shares: Sequence[tuple[float, str]], seed: int
    ) -> Measured:
        """Every pair at every share, each share with what its level bears behind the pair's name."""
        found = Measured()
        for pair, sound, truth, left_out in self._sound(embeddings, split):
            near = find_all_nearest(sound.features, embeddings_units(sound), self.neighbours)
            counts = {"rows": len(truth), "rows_left_out": left_out, "similar": pair.kind == "similar"}
            for share, suffix in shares:
                place = Place(self.name, split, pair.level + suffix)
                found += Measured(place.scores({"swapped": sum(swap_counts(truth, share))} | counts))
                found += self._measure_draws(place, sound, truth, near, share, seed)
        return found

    def _measure_draws(
        self, place: Place, sound: Embeddings, truth: Indices, near: NearestRows, share: float, seed: int
    ) -> Measured:
        scores = []
        sums: dict[str, Floats] = defaultdict(lambda: np.zeros((2, len(truth))))
        for draw in range(self.draws):
            given = swap_labels(truth, share, seed, draw)
            probabilities, converged = out_of_fold(sound.features, given, embeddings_units(sound), self, seed + draw)
            wrong = given != truth
            for prefix, doubt in every_doubt(given, probabilities, near).items():
                found = {prefix + name: value for name, value in detection_scores(wrong, doubt).items()}
                scores += place.scores(found, draw)
                for name, (value, weight) in contributions(wrong, doubt).items():
                    sums[prefix + name] += np.stack([value * weight, weight])
            scores += place.scores({"converged": converged}, draw)
        return Measured(scores, _outcomes(place, sound, sums))


def swap_labels(truth: Indices, share: float, seed: int, draw: int = 0) -> Indices:
    """Give a share of each of the two classes the other's label, at least one row of each.

    Args:
        truth: [n] of 0 and 1.
        share: of each class.
        seed: of all draws.
        draw: which of them; each is independent of the others.
    """
    generator = np.random.default_rng([seed, draw])
    given = truth.copy()
    for label, count in enumerate(swap_counts(truth, share)):
        rows = generator.choice(np.flatnonzero(truth == label), size=count, replace=False)
        given[rows] = 1 - label
    return given


def swap_counts(truth: Indices, share: float) -> list[int]:
    """How many of each of the two classes are swapped."""
    return [max(1, round(share * int(size))) for size in np.bincount(truth, minlength=2)]


def _outcomes(place: Place, sound: Embeddings, sums: dict[str, Floats]) -> list[Outcome]:
    found = []
    for metric, (value, weight) in sums.items():
        part = weight > 0  # follows from the draws alone
        mean = value[part] / weight[part]
        lower = metric.endswith("fpr")
        found += place.outcome(metric, sound.specimen_id[part], mean, weight[part], lower_is_better=lower)
    return found
