"""The settings that every task shares."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Final, Self, final

from pydantic import Field

from herbray.config import Spec
from herbray.tasks.interface.embeddings import Embeddings
from herbray.tasks.interface.outcomes import Measurement, Score
from herbray.tasks.interface.validators import PooledSplits

PAPER_SEED: Final = 89
"""The seed of Walker et al. 2022. A task's seed determines its folds and draws, whatever the encoder."""


class TaskSpec(Spec, ABC):
    """Settings of one task. The result is a pure function of (embeddings, settings, split, seed).

    A new task is one file with one final subclass, and one line in `herbray.tasks.TASKS`.

    Attributes:
        name: a Literal in each subclass; the key in `TASKS` and the value of the `task` column of the results.
        splits: the splits to run the task on; "herbarium+random" pools two.
        threads: number of linear-algebra threads in one process. Results are exactly reproducible for a given number;
            use 1 when many tasks run in parallel.
        parallel_over: name of a tuple field whose entries are scored independently of each other.
        checked_over: name of a tuple field whose entries are checked one by one; those that the labels do not allow
            may be left out.
    """

    parallel_over: ClassVar[str | None] = None
    checked_over: ClassVar[str | None] = None

    name: str
    splits: PooledSplits
    threads: Annotated[int, Field(ge=1)] = 1

    @abstractmethod
    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measurement:
        """Score one encoder on one split, and record what each specimen contributed.

        Args:
            embeddings: must include this split; specimens of other splits are ignored.
            split: one of `splits`.
            seed: determines folds and draws. Use the same seed for all encoders to compare them fold by fold.

        Raises:
            UnscorableError: the task cannot be scored on these embeddings; the message says what is missing.
        """

    @abstractmethod
    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """Check that the labels allow the task. `measure` requires nothing else of them.

        Args:
            labels: as in `measure`; the features are not read, see `Embeddings.from_labels`.
            split: one of `splits`.
            seed: as in `measure`.

        Raises:
            UnscorableError: the labels do not allow the task; the same error that `measure` would raise.
        """

    @final
    def run(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> list[Score]:
        """Return only the scores; see `measure`."""
        return self.measure(embeddings, split, seed).scores

    @final
    def parts(self) -> tuple[Self, ...]:
        """Split the task into settings that can run in parallel; their scores together are those of this task."""
        return self._narrow_to_each(self.parallel_over)

    @final
    def split_for_check(self) -> tuple[Self, ...]:
        """Split the task into settings that are checked one by one, see `checked_over`."""
        return self._narrow_to_each(self.checked_over)

    @final
    def narrow_to(self, **settings: tuple[object, ...]) -> Self:
        """Copy with these settings replaced; `model_fields_set` still holds only the fields that the user wrote."""
        found = self.model_copy(update=settings)
        found.model_fields_set.intersection_update(self.model_fields_set)
        return found

    def _narrow_to_each(self, field: str | None) -> tuple[Self, ...]:
        if field is None or not getattr(self, field):
            return (self,)
        return tuple(self.narrow_to(**{field: (entry,)}) for entry in getattr(self, field))
