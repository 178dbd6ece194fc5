"""Application 2, discrimination of similar and distinct genera."""

from typing import Annotated, ClassVar, Literal, final

from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.base import PAPER_SEED, Embeddings, PooledSplits, Score, once
from herbray.tasks.pairs import Pair, choose, members
from herbray.tasks.probe import ProbeTask, binary_scores, cross_validate


@final
class Discriminate(ProbeTask):
    """Tell two genera apart by cross-validation (Walker et al. 2022: Syzygium from Eugenia, and from Dendrobium).

    Accuracy and F1 of two pairs don't compare, since the shares of the genera differ; balanced accuracy and
    AUROC do. Scores of each fold: see `probe.binary_scores`; at fold -1 `rows` and `positives`.

    Attributes:
        pairs: the genera; empty lets `pairs.choose` take them from the labels.
    """

    parallel_over: ClassVar[str | None] = "pairs"

    name: Literal["discriminate"] = "discriminate"
    splits: PooledSplits = ("herbarium+random",)
    max_iter: Annotated[int, Field(ge=1)] = 2500
    pairs: Annotated[tuple[Pair, ...], AfterValidator(once)] = ()

    def run(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> list[Score]:
        """Score each pair, the level being e.g. "Syzygium–Eugenia"; see `TaskSpec.run`.

        Raises:
            UnscorableError: a genus has fewer specimens than there are folds, or no pair can be chosen.
        """
        rows = embeddings.of_split(split)
        pairs = self.pairs or choose(rows, self.folds)
        with threadpool_limits(limits=self.threads):
            return [score for pair in pairs for score in self._pair(rows, split, pair, seed)]

    def _pair(self, embeddings: Embeddings, split: str, pair: Pair, seed: int) -> list[Score]:
        rows, labels = members(embeddings, pair, self.folds, f"{self.name}, split {split!r}")
        counts = {"rows": len(rows), "positives": labels.sum()}
        scores = [Score(self.name, split, pair.level, -1, metric, float(count)) for metric, count in counts.items()]
        for fold in cross_validate(embeddings.features[rows], labels, self, seed):
            for metric, value in binary_scores(labels[fold.test], fold).items():
                scores.append(Score(self.name, split, pair.level, fold.number, metric, value))
        return scores
