"""Distillation: the encoder learns to predict the embeddings of a teacher, alone or beside another objective."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective, ObjectiveSpec
from herbray.model.objectives.labelled import AnyLabelled
from herbray.settings.marks import Mark


class Distil(ObjectiveSpec):
    """Regression of the teacher's embeddings by a linear head, up to their length.

    The loss is 1 - cosine, the regression of Budnik and Avrithis 2021 ("Asymmetric metric learning for knowledge
    transfer"). The teacher may have another architecture, another number of features and another input size.
    """

    name: Literal["distil"] = "distil"
    teacher: Annotated[Path | None, Mark("place")] = Field(
        None, description="folder of the teacher's embeddings of the splits train and validation, from `herbray embed`"
    )
    beside: AnyLabelled | None = Field(None, description="objective that is trained at the same time; null: none")
    share: float = Field(0.5, gt=0, le=1, description="share of the loss of distillation, beside another objective")

    @model_validator(mode="after")
    def _batch_as_beside(self) -> Self:
        """Batches have the shape that the other objective requests."""
        if self.beside is not None:
            for name in ("group", "views", "rivals"):
                if name in self.model_fields_set and getattr(self, name) != getattr(self.beside, name):
                    raise ValueError(f"set {name} of `beside`, not of distil: both objectives see the same batches")
                object.__setattr__(self, name, getattr(self.beside, name))
        return self

    @property
    def uses_lineage(self) -> bool:
        """Whether the objective beside it does."""
        return self.beside is not None and self.beside.uses_lineage

    @property
    def draws_images(self) -> bool:
        """Whether the objective beside it does."""
        return self.beside is not None and self.beside.draws_images

    @property
    def teacher_folder(self) -> Path | None:
        """See `ObjectiveSpec.teacher_folder`; raises ValueError if there is none."""
        if self.teacher is None:
            raise ValueError(
                "objective.name=distil needs a teacher: run `herbray embed` with splits=[train, validation] on these "
                "shards, and set objective.teacher to the folder of its embeddings"
            )
        return self.teacher

    def with_absolute_paths(self) -> Self:
        """See `ObjectiveSpec.with_absolute_paths`."""
        return self.model_copy(update={"teacher": self.teacher and self.teacher.absolute()})

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`."""
        beside = None if self.beside is None else self.beside.build(dim, size, classes, facts)
        return _Distillation(nn.Linear(dim, facts.teacher_dim), beside, self.share)


class _Distillation(Objective):
    def __init__(self, head: nn.Linear, beside: Objective | None, share: float) -> None:
        super().__init__()
        self.head, self.beside, self.share = head, beside, share

    def forward(
        self, features: Tensor, images: Tensor, labels: Tensor, targets: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the mean of 1 - cosine, and the weighted sum with the other objective's loss."""
        if targets is None:
            raise ValueError("distillation needs the teacher's embeddings of the batch")
        away = 1 - functional.cosine_similarity(self.head(features).float(), targets.float(), dim=1).mean()
        if self.beside is None:
            return {"loss": away, "distance": away.detach()}
        found = self.beside(features, images, labels)
        loss = self.share * away + (1 - self.share) * found.pop("loss")
        return {"loss": loss, "distance": away.detach(), **found}
