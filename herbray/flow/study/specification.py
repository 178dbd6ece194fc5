"""The settings of a study: every stage's own, checked against each other."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Final, Self, TypeVar

from pydantic import Field, model_validator

from herbray import config
from herbray.config import Spec
from herbray.data.catalogue import Catalogue
from herbray.flow.embedding.specification import Embed
from herbray.flow.evaluation.job import Evaluate
from herbray.flow.review.job import Review
from herbray.flow.shards.build import Shard
from herbray.flow.study.folders import check_distinct
from herbray.flow.study.report_job import Report
from herbray.flow.training.specification import Train
from herbray.model.encoder import START_WEIGHTS, EncoderSpec

PRETRAINING: Final = "pretraining"
"""The value of `inits` that means the encoder of the study's own `pretraining`."""

S = TypeVar("S", bound=Spec)


class Pretraining(Spec):
    """An encoder that is trained on another catalogue first and whose weights are start weights of the study.

    Walker et al. pretrain on CIFAR-10. The encoder is passed on through the registry.
    """

    catalogue: Catalogue = Field(description="settings of the catalogue")
    shard: Shard = Field(Shard(), description="settings of the shards")
    train: Train = Field(description="settings of the training")


class Study(Spec):
    """The study job: the settings of every stage. All folders between the stages are below `out`.

    Trainings with `workers=0` are single Ray tasks, as many at once as there are CPUs (or GPUs). The other trainings
    run one after the other, each with its own workers.
    """

    out: Path = Field(Path("runs/study"), description="folder that receives the results of every stage")
    title: str = Field("A synthetic herbarium", description="heading of the report")
    catalogue: Catalogue = Field(description="settings of the catalogue")
    shard: Shard = Field(Shard(), description="settings of the shards")
    other_shards: dict[str, Shard] = Field(
        {}, description="label of a training: settings of other shards that it trains on"
    )
    train: tuple[Train, ...] = Field(
        min_length=1, description="one training for each objective, or several that differ in settings"
    )
    inits: Annotated[tuple[str, ...], START_WEIGHTS] = Field(
        (), description="start weights, each used with every training; none: each training's own"
    )
    seeds: tuple[int, ...] = Field(
        (), description="seeds, each used with every training and start; none: each training's own"
    )
    frozen: tuple[EncoderSpec, ...] = Field((), description="further encoders to evaluate without training")
    pretraining: Pretraining | None = Field(None, description="training of the encoder that inits call 'pretraining'")
    embed: Embed = Field(Embed(), description="settings of the embeddings")
    evaluate: Evaluate = Field(Evaluate(), description="settings of the evaluation")
    report: Report = Field(Report(), description="settings of the report")
    review: Review | None = Field(
        None, description="settings of the page of doubtful sheets, by the encoder of the first training; None: no page"
    )

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        for name, values in (("inits", self.inits), ("seeds", list(map(str, self.seeds)))):
            if repeated := [text for text, count in Counter(values).items() if count > 1]:
                raise ValueError(f"{name}: {', '.join(repeated)} given twice")
        shared = [*(["init"] if self.inits else []), *(["seed"] if self.seeds else [])]
        check_distinct(self.train, self.shard, self.other_shards, shared)
        self._check_other_shards()
        wanted = PRETRAINING in {*self.inits, *(each.encoder.init for each in self.train)}
        if wanted and self.pretraining is None:
            raise ValueError(f"an init is {PRETRAINING!r}, but `pretraining` is not set: set it, or use another init")
        if self.pretraining is not None and not wanted:
            raise ValueError(f"`pretraining` is set, but no init is {PRETRAINING!r}: add it to inits")
        for each in self.train:
            for init in self.inits:
                encoder_from(each, init)
        return self

    def _check_other_shards(self) -> None:
        names = [each.result_name for each in self.train]
        for name, other in self.other_shards.items():
            if name not in names:
                raise ValueError(f"other_shards: no training is called {name!r}; there are {', '.join(names)}")
            if _tested_sheets(other) != _tested_sheets(self.shard):
                raise ValueError(
                    f"other_shards.{name}: splits, labels.rank or seed differ from those of shard, so encoders could "
                    "not be compared: give both the same values"
                )


def _tested_sheets(shard: Shard) -> tuple[object, ...]:
    """What decides which sheets are tested, under which names; verdicts change only what encoders learn."""
    return shard.splits, shard.labels.rank, shard.seed


def encoder_from(base: Train, init: str) -> EncoderSpec:
    """The encoder settings of a training with other start weights.

    Raises:
        ConfigError: the settings do not allow these start weights, e.g. because they have another stem.
    """
    tree = base.encoder.model_dump() | {"init": init}
    return config.parse(EncoderSpec, tree, origin=f"{base.objective.name} from {init}: encoder")


def with_values(spec: S, **values: object) -> S:
    """A copy of a specification with some values replaced."""
    return spec.model_copy(update=values)
