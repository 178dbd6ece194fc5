"""Settings of the training job."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from herbray.config import Spec
from herbray.data.planning import plan
from herbray.flow.cluster.placement import DEVICE_HELP, Device
from herbray.flow.input.batches import LoaderSpec
from herbray.model.augment import Augment
from herbray.model.encoder import EncoderSpec
from herbray.model.objectives import AnyObjective
from herbray.model.objectives.triplet import Triplet
from herbray.model.portable import find_architecture
from herbray.model.speed.compilation import CompileMode
from herbray.settings.marks import Mark


class Optimizer(Spec):
    """How parameters are updated."""

    name: Literal["adamw", "adam"] = Field("adamw", description="AdamW or Adam")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(0.01, ge=0, description="decoupled decay for adamw, L2 penalty for adam")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="learning rate after the warm-up: falls along a cosine, or stays"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of all steps during which the rate rises")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="factor of the learning rate from each block of the encoder to the block before it"
    )
    freeze: float = Field(
        0.0, ge=0, lt=1, description="share of all steps during which only the objective's own parts are trained"
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of the running average of weights that becomes the encoder; 0: no average",
    )


class Checkpoints(Spec):
    """How much work an interruption may cost, and how many checkpoints are kept; each epoch ends with one, too.

    Checkpoints start every half interval, so that a run which is killed while one is being written loses at most one
    interval.
    """

    seconds: float | None = Field(
        300.0, gt=0, description="seconds of training that an interruption may cost; null: no limit by time"
    )
    windows: int | None = Field(
        None, ge=1, description="windows of all workers together that an interruption may cost; null: no limit"
    )
    last: int = Field(2, ge=1, description="newest checkpoints that are kept, in addition to the best one")


class Elastic(Spec):
    """As many workers as the cluster has free resources for."""

    min: int = Field(1, ge=1, description="minimum number of workers; training does not start with fewer")
    max: int = Field(ge=1, description="maximum number of workers")
    look_s: float = Field(60, gt=0, description="seconds between checks for free capacity")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is more than max={self.max}")
        return self


class Train(Spec):
    """The training job. Reads a shards folder, writes a run folder and registers an encoder.

    A field without a `Mark` changes what is learned: another value makes another run, which is trained separately.
    """

    shards: Annotated[Path, Mark("place", "all trials learn from the same shards")] = Field(
        Path("runs/shards"), description="folder of the shards, written by `herbray shard`"
    )
    out: Annotated[Path, Mark("place", "each trial has a folder of its own")] = Field(
        Path("runs/train/triplet"), description="folder of the run: checkpoints, metrics, encoder"
    )
    objective: AnyObjective = Field(Triplet(), description="what the encoder is trained to do")
    encoder: EncoderSpec = Field(EncoderSpec(), description="architecture, start weights and input size")
    optimizer: Optimizer = Field(Optimizer(), description="optimizer and learning rate")
    augment: Augment = Field(Augment(), description="random changes of the training images")
    sides: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0,),
        min_length=1,
        description="side of the training images as a share of encoder.size, one number for each of equal parts of the "
        "run: [0.5, 0.75, 1] begins with small images (Tan and Le 2021), [0.75] trains on smaller images than it "
        "embeds (Touvron et al. 2019)",
    )
    stream: plan.Stream = Field(plan.Stream(), description="size of batches and windows")
    loader: Annotated[LoaderSpec, Mark("conduct")] = Field(
        LoaderSpec(), description="where and how images are read and decoded"
    )
    epochs: Annotated[int, Mark(why="trials are compared at equal epochs")] = Field(
        25, ge=1, description="passes over the training split"
    )
    keep: Annotated[Literal["best", "last"], Mark("choice")] = Field(
        "best",
        description="checkpoint that becomes the encoder: the last whose k-NN accuracy on validation is at most one "
        "standard error below the highest, or the last of all",
    )
    validate_rows: Annotated[int, Mark("measure")] = Field(
        4096,
        ge=2,
        description="maximum number of specimens used for validation, drawn from all labels; their JPEGs are "
        "kept in memory",
    )
    neighbours: Annotated[int, Mark("measure")] = Field(5, ge=1, description="k of the k-NN accuracy")
    reports: Annotated[int, Mark("progress")] = Field(4, ge=1, description="reports of the loss per epoch")
    checkpoints: Annotated[Checkpoints, Mark("conduct")] = Field(
        Checkpoints(), description="how often training saves its state"
    )
    workers: Annotated[Annotated[int, Field(ge=0)] | Elastic | None, Mark("conduct")] = Field(
        None,
        description="DDP workers, or {min, max} of them; None: one per GPU of the cluster, or one per node; 0 trains "
        "in this process, without Ray. The batch is per worker: set a number if results must not depend on the cluster",
    )
    device: Annotated[Device, Mark("conduct")] = Field("auto", description=DEVICE_HELP)
    cpus_per_worker: Annotated[float | None, Mark("conduct")] = Field(
        None, gt=0, description="CPUs per worker; None: one next to a GPU; without GPUs, what reading tasks leave"
    )
    precision: Literal["auto", "float32"] = Field(
        "auto", description="auto: bfloat16 and TF32 if the device supports them; float32: full precision everywhere"
    )
    compile: Annotated[CompileMode, Mark("conduct")] = Field(
        "auto", description="torch.compile; auto: in long runs on CUDA, never on a CPU"
    )
    max_failures: Annotated[int, Mark("conduct")] = Field(
        3, ge=0, description="failures in a row without progress; preempted nodes are not counted"
    )
    patience_s: Annotated[float, Mark("conduct")] = Field(
        1800, gt=0, description="seconds to wait for free resources for the workers, all waits of a command together"
    )
    label: Annotated[str | None, Mark("name")] = Field(
        None, min_length=1, max_length=40, description="name of the encoder in results; None: its objective"
    )
    register_as: Annotated[str | None, Mark("name")] = Field(
        None, description="registered model; None: herbray-<objective>"
    )
    experiment: Annotated[str, Mark("name", "all trials are tracked in one experiment")] = Field(
        "herbray", description="MLflow experiment of the run"
    )
    store: Annotated[Path, Mark("place", "all trials are tracked in one store")] = Field(
        Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set"
    )
    seed: int = Field(89, description="seed of start weights, order, augmentation and dropout")

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        if set(self.sides) == {1.0}:
            return self
        if self.objective.draws_images:
            raise ValueError(
                f"sides={list(self.sides)}, but {self.objective.name} draws images of one side: leave out sides"
            )
        if find_architecture(self.encoder.arch).resize is not None:
            raise ValueError(
                f"sides={list(self.sides)}, but {self.encoder.arch} is built for one side: leave out sides"
            )
        return self

    @property
    def result_name(self) -> str:
        """Name of the encoder in results."""
        return self.label or self.objective.name

    @property
    def model_name(self) -> str:
        """Name of the registered model; the encoder becomes a version of it."""
        return self.register_as or f"herbray-{self.objective.name}"

    @property
    def most_workers(self) -> int:
        """Most workers at once; one until the number has been chosen."""
        return self.workers.max if isinstance(self.workers, Elastic) else self.workers or 1

    @property
    def fewest_workers(self) -> int:
        """Training does not start with fewer workers; see `most_workers`."""
        return self.workers.min if isinstance(self.workers, Elastic) else self.workers or 1
