"""What an objective is: a specification that asks for a batch shape, and a module that turns a batch into a loss."""

from abc import ABC, abstractmethod

from pydantic import Field
from torch import Tensor, nn

from herbray.config import Spec


class Objective(nn.Module, ABC):
    """Owns what is discarded after training: heads, decoders. Every parameter takes part in every step."""

    @abstractmethod
    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss of one batch.

        Args:
            features: Float [n, d], of the encoder.
            images: Float [n, 3, s, s] in [0, 1], as the encoder saw them.
            labels: Int64 [n]; -1 where the genus is not among the classes, such rows teach nothing about labels.

        Returns:
            `loss`, a scalar with gradient, and further scalars without, under the same names every time.
        """


class ObjectiveSpec(Spec, ABC):
    """Settings of an objective; `group`, `views` and `rivals` are all that the training loop knows of it."""

    name: str
    group: int = Field(1, ge=1, description="rows of one genus that stand side by side in a batch")
    views: int = Field(1, ge=1, description="augmented copies of each row")
    rivals: int = Field(0, ge=0, description="rows at a batch's end of any genus, all genera alike")

    @abstractmethod
    def build(self, dim: int, size: int, classes: int) -> Objective:
        """Make the module with its start weights, drawn from torch's global generator.

        Args:
            dim: length of a feature vector.
            size: side of the images in pixels.
            classes: number of genera.

        Raises:
            ValueError: settings that do not fit these.
        """
