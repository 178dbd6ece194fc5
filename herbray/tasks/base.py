"""The settings that every task shares."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final, Self, final

from herbray.config import Spec
from herbray.tasks.embeddings import Embeddings
from herbray.tasks.outcomes import Measurement, Score
from herbray.tasks.validators import PooledSplits

PAPER_SEED: Final = 89
"""The seed that Walker et al. 2022 used; a task's seed places its folds and draws, whichever encoder is tried."""


class TaskSpec(Spec, ABC):
    """Settings of one task; what it computes is a pure function of (embeddings, settings, split, seed).

    A new task is one file with one final subclass, and one line in `herbray.tasks.TASKS`.

    Attributes:
        name: a Literal in each subclass; its key in `TASKS` and the `task` column of the results.
        splits: where the task is to be run; "herbarium+random" pools two.
        parallel_over: the field, a tuple, whose entries are scored independently of each other.
        checked_over: the field, a tuple, of whose entries some may be left out where labels do not allow them.
    """

    parallel_over: ClassVar[str | None] = None
    checked_over: ClassVar[str | None] = None

    name: str
    splits: PooledSplits

    @abstractmethod
    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score one encoder on one split, and say what each specimen contributed.

        Args:
            embeddings: of this split at least; specimens of other splits are passed over.
            split: one of `splits`.
            seed: places folds and draws. Keep it the same for all encoders, so that they are compared fold by fold.

        Raises:
            UnscorableError: the embeddings do not allow the task; the message says what is missing.
        """

    @abstractmethod
    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See whether these labels allow the task: nothing else does `measure` ask before it looks at features.

        Args:
            labels: as in `measure`; their features are not looked at, see `Embeddings.from_labels`.
            split: one of `splits`.
            seed: as in `measure`.

        Raises:
            UnscorableError: they do not; the same as of `measure`.
        """

    @final
    def run(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> list[Score]:
        """The scores alone; see `measure`."""
        return self.measure(embeddings, split, seed).scores

    @final
    def parts(self) -> tuple[Self, ...]:
        """Narrower settings whose scores, put together, are this task's: what may be run side by side."""
        return self._narrow_to_each(self.parallel_over)

    @final
    def split_for_check(self) -> tuple[Self, ...]:
        """Narrower settings that are checked one by one, see `checked_over`."""
        return self._narrow_to_each(self.checked_over)

    @final
    def narrow_to(self, **settings: tuple[object, ...]) -> Self:
        """With these settings in place of others; what the user has written, `model_fields_set`, stays what it was."""
        found = self.model_copy(update=settings)
        found.model_fields_set.intersection_update(self.model_fields_set)
        return found

    def _narrow_to_each(self, field: str | None) -> tuple[Self, ...]:
        if field is None or not getattr(self, field):
            return (self,)
        return tuple(self.narrow_to(**{field: (entry,)}) for entry in getattr(self, field))
