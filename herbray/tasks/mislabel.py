"""Application 3, identification of mislabelled specimens: plant wrong names and check whether they are found."""

from typing import Annotated, ClassVar, Literal, final

from pydantic import Field
from threadpoolctl import threadpool_limits

from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings
from herbray.tasks.interface.outcomes import Measurement
from herbray.tasks.interface.validators import PooledSplits
from herbray.tasks.methods.swaps import SwapTask


@final
class Mislabel(SwapTask):
    """Swap the names of a share of each genus of a pair and search for them with confident learning; see `SwapTask`.

    Attributes:
        share: share of the specimens of each genus whose name is swapped; at least one specimen per genus.
    """

    parallel_over: ClassVar[str | None] = "pairs"

    name: Literal["mislabel"] = "mislabel"
    splits: PooledSplits = ("herbarium+species+random",)
    class_weight: Literal["balanced"] | None = None
    share: Annotated[float, Field(gt=0, lt=0.5)] = 0.1

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each draw of each pair; see `TaskSpec.measure`.

        Raises:
            UnscorableError: a genus has fewer gatherings than there are folds, or no pair can be chosen.
        """
        with threadpool_limits(limits=self.threads):
            return self._measure_pairs(embeddings, split, [(self.share, "")], seed)

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        self._check_pairs(labels, split, [self.share], seed)
