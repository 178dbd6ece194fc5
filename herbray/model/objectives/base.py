"""Interface of objectives: a specification that requests a batch shape, and a module that computes a batch's loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import Field
from torch import Tensor, nn

from herbray.config import Spec


@dataclass(frozen=True)
class DataFacts:
    """What some objectives need to know of the data before training.

    Attributes:
        lineage: Int64 [classes, ranks] from the highest rank, code of each label's name at the rank; -1: no name.
        teacher_dim: length of the teacher's embeddings; 0: no teacher.
    """

    lineage: Tensor | None = None
    teacher_dim: int = 0


NO_FACTS: Final = DataFacts()


class Objective(nn.Module, ABC):
    """Owns the parts that are discarded after training: heads, decoders. Every step uses every parameter."""

    @abstractmethod
    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Args:
            features: Float [n, d], output of the encoder.
            images: Float [n, 3, s, s] in [0, 1], input of the encoder.
            labels: Int64 [n]; -1 if the name is not among the classes: the loss must not use the label of such rows.

        Returns:
            `loss`, a scalar with gradient, and further scalars without gradient; the names never change.
        """


class ObjectiveSpec(Spec, ABC):
    """Settings of an objective. `group`, `views` and `rivals` are the shape of the batches that it needs."""

    name: str
    group: int = Field(1, ge=1, description="adjacent rows of one label in a batch")
    views: int = Field(1, ge=1, description="augmented copies of each row")
    rivals: int = Field(0, ge=0, description="rows of any label at the end of a batch; all labels are equally likely")

    @property
    def uses_lineage(self) -> bool:
        """Whether `build` needs the names at higher ranks."""
        return False

    @property
    def draws_images(self) -> bool:
        """Whether the objective's own parts are built for images of one side."""
        return False

    @property
    def teacher_folder(self) -> Path | None:
        """Folder of a teacher's embeddings, if the loss needs these."""
        return None

    def with_absolute_paths(self) -> Self:
        """The same objective for a process with another working directory."""
        return self

    @abstractmethod
    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """Build the module with start weights drawn from torch's global generator.

        Args:
            dim: length of a feature vector.
            size: side of the images in pixels.
            classes: number of labels.
            facts: what else the data say.

        Raises:
            ValueError: the settings do not match the arguments.
        """
