"""Application 3, identification of mislabelled specimens: plant wrong names and see whether they are found."""

from typing import Annotated, ClassVar, Literal, final

import numpy as np
from cleanlab.filter import find_label_issues
from pydantic import AfterValidator, Field
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from herbray.tasks.base import PAPER_SEED, Embeddings, Floats, Indices, Mask, PooledSplits, Score, once
from herbray.tasks.pairs import Pair, choose, known_wrong, members
from herbray.tasks.probe import ProbeTask, out_of_fold


@final
class Mislabel(ProbeTask):
    """Swap the names of a share of each genus of a pair and look for them with confident learning.

    Protocol of Walker et al. 2022 with seeded draws in place of a single unseeded one; confident learning, pruned by
    noise rate, of Northcutt et al. 2021 (doi 10.1613/jair.1.12125). Beside it stands the plain rival: a name is suspect
    where the probe that has not seen the specimen says otherwise. The `fold` of a score is its draw.

    Specimens whose true genus is known to differ from the one they are filed under take no part: found, they would
    count as false alarms. At fold -1: `rows`, `swapped`, `rows_left_out`. Of each draw: see `detection_scores`.

    Attributes:
        pairs: the genera; empty lets `pairs.choose` take them from the labels.
        share: of each genus' specimens whose name is swapped, at least one specimen.
        draws: how often.
    """

    parallel_over: ClassVar[str | None] = "pairs"

    name: Literal["mislabel"] = "mislabel"
    splits: PooledSplits = ("herbarium+random",)
    max_iter: Annotated[int, Field(ge=1)] = 2500
    class_weight: Literal["balanced"] | None = None
    pairs: Annotated[tuple[Pair, ...], AfterValidator(once)] = ()
    share: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    draws: Annotated[int, Field(ge=1)] = 20

    def run(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> list[Score]:
        """Score each draw of each pair; see `TaskSpec.run`.

        Raises:
            UnscorableError: a genus has fewer specimens than there are folds, or no pair can be chosen.
        """
        filed = embeddings.of_split(split)
        pairs = self.pairs or choose(filed, self.folds)
        with threadpool_limits(limits=self.threads):
            return [score for pair in pairs for score in self._pair(filed, split, pair, seed)]

    def _pair(self, filed: Embeddings, split: str, pair: Pair, seed: int) -> list[Score]:
        where = f"{self.name}, split {split!r}"
        of_pair = filed.take(members(filed, pair, self.folds, where)[0])
        sound = of_pair.take(~known_wrong(of_pair))
        truth = members(sound, pair, self.folds, where)[1]
        counts = {
            "rows": len(truth),
            "swapped": sum(_swaps(truth, self.share)),
            "rows_left_out": len(of_pair) - len(sound),
        }
        scores = [Score(self.name, split, pair.level, -1, metric, float(count)) for metric, count in counts.items()]
        for draw in range(self.draws):
            given = swap_labels(truth, self.share, seed, draw)
            probabilities, converged = out_of_fold(sound.features, given, self, seed + draw)
            found = detection_scores(given != truth, given, probabilities) | {"converged": converged}
            scores += [Score(self.name, split, pair.level, draw, metric, value) for metric, value in found.items()]
        return scores


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
    for label, count in enumerate(_swaps(truth, share)):
        rows = generator.choice(np.flatnonzero(truth == label), size=count, replace=False)
        given[rows] = 1 - label
    return given


def suspected(given: Indices, probabilities: Floats) -> Mask:
    """Rows whose label confident learning holds for wrong, pruned by noise rate (Northcutt et al. 2021).

    Args:
        given: [n] classes 0 to k-1.
        probabilities: [n, k] out of fold.
    """
    mask: Mask = find_label_issues(given, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    return mask


def detection_scores(wrong: Mask, given: Indices, probabilities: Floats) -> dict[str, float]:
    """How well wrong labels are found.

    Args:
        wrong: [n] rows whose label is wrong, some but not all.
        given: [n] the labels, classes 0 to k-1.
        probabilities: [n, k] out of fold.

    Returns:
        `tpr` (share of wrong labels suspected), `fpr` (share of right labels suspected) and `precision` (share of the
        suspected that is wrong; 0 where nothing is suspected) of confident learning; the same with prefix `oof_` of
        plain disagreement; and of the ranking by self-confidence, the probability of the given label, `auroc` and
        `precision_at_n`: the share of wrong labels among the n least confident, n being the number of wrong ones.
    """
    confidence = probabilities[np.arange(len(given)), given]
    worst = np.argsort(confidence, kind="stable")[: wrong.sum()]
    disagree = probabilities.argmax(axis=1) != given
    return {
        **_rates(wrong, suspected(given, probabilities), ""),
        **_rates(wrong, disagree, "oof_"),
        "auroc": float(roc_auc_score(wrong, -confidence)),
        "precision_at_n": float(wrong[worst].mean()),
    }


def _swaps(truth: Indices, share: float) -> list[int]:
    return [max(1, round(share * int(size))) for size in np.bincount(truth, minlength=2)]


def _rates(wrong: Mask, flagged: Mask, prefix: str) -> dict[str, float]:
    hits = float((wrong & flagged).sum())
    return {
        f"{prefix}tpr": hits / float(wrong.sum()),
        f"{prefix}fpr": float((~wrong & flagged).sum()) / float((~wrong).sum()),
        f"{prefix}precision": hits / max(1.0, float(flagged.sum())),
    }
