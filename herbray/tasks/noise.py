"""Application 3 at other shares of wrong names: at which share does detection break down?"""

from typing import Annotated, ClassVar, Literal, final

from pydantic import AfterValidator, Field
from threadpoolctl import threadpool_limits

from herbray.tasks.interface.base import PAPER_SEED
from herbray.tasks.interface.embeddings import Embeddings
from herbray.tasks.interface.outcomes import Measurement
from herbray.tasks.interface.validators import PooledSplits, refuse_duplicates
from herbray.tasks.methods.swaps import SwapTask

Share = Annotated[float, Field(gt=0, lt=0.5)]


@final
class Noise(SwapTask):
    """The mislabel task at several shares; the level is the pair and the share, e.g. "Syzygium–Eugenia @ 20%".

    Draw n swaps the same specimens here as in the mislabel task at the same share.

    Attributes:
        shares: shares of the specimens of each genus whose name is swapped.
    """

    parallel_over: ClassVar[str | None] = "shares"

    name: Literal["noise"] = "noise"
    splits: PooledSplits = ("herbarium+species+random",)
    class_weight: Literal["balanced"] | None = None
    shares: Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(refuse_duplicates)] = (
        0.05,
        0.1,
        0.2,
        0.3,
        0.4,
    )

    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score each draw of each pair at each share; see `TaskSpec.measure`.

        Raises:
            UnscorableError: a genus has fewer gatherings than there are folds, or no pair can be chosen.
        """
        shares = [(share, f" @ {100 * share:g}%") for share in self.shares]
        with threadpool_limits(limits=self.threads):
            return self._measure_pairs(embeddings, split, shares, seed)

    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See `TaskSpec.check`."""
        self._check_pairs(labels, split, self.shares, seed)
