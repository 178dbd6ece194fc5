"""Settings of the training job."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from herbray.config import Spec
from herbray.data import plan
from herbray.flow.input.batches import Loader
from herbray.model.augment import Augment
from herbray.model.compiled import Compile
from herbray.model.encoder import EncoderSpec
from herbray.model.objectives import AnyObjective
from herbray.model.objectives.triplet import Triplet
from herbray.settings.marks import Mark


class Optimizer(Spec):
    """How the parameters move."""

    name: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of all steps with a rising rate")


class Checkpoints(Spec):
    """How much work an interruption may cost, and how many checkpoints stay; one is made at each epoch's end, too.

    A checkpoint is begun every half of such an interval, so that one which is still being written when a run is killed
    costs no more than the whole of it.
    """

    seconds: float | None = Field(300.0, gt=0, description="of training that are done again; null: not by the clock")
    windows: int | None = Field(None, ge=1, description="that are done again, of all workers together; null: no matter")
    last: int = Field(2, ge=1, description="newest that stay, beside the best one")


class Elastic(Spec):
    """As many workers as the cluster has room for."""

    min: int = Field(1, ge=1)
    max: int = Field(ge=1)
    look_s: float = Field(60, gt=0, description="so often it is looked whether there is room for more of them")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is more than max={self.max}")
        return self


class Train(Spec):
    """The training job. Reads a shards folder, writes a run folder and registers an encoder.

    A field without a `Mark` bears on what is learned: another value makes another run, which is trained anew.
    """

    shards: Annotated[Path, Mark("place", "all trials learn from the same shards")] = Path("runs/shards")
    out: Annotated[Path, Mark("place", "each trial has a folder of its own")] = Path("runs/train/triplet")
    objective: AnyObjective = Triplet()
    encoder: EncoderSpec = EncoderSpec()
    optimizer: Optimizer = Optimizer()
    augment: Augment = Augment()
    stream: plan.Stream = plan.Stream()
    loader: Annotated[Loader, Mark("conduct")] = Loader()
    epochs: Annotated[int, Mark(why="trials are compared at equal epochs")] = Field(25, ge=1)
    keep: Annotated[Literal["best", "last"], Mark("choice")] = "best"
    validate_rows: Annotated[int, Mark("measure")] = Field(
        4096,
        ge=2,
        description="most specimens of the validation split that are looked at, drawn from all genera; their JPEGs are "
        "held in memory",
    )
    neighbours: Annotated[int, Mark("measure")] = Field(5, ge=1, description="k of the k-NN genus accuracy")
    reports: Annotated[int, Mark("progress")] = Field(4, ge=1, description="how often an epoch tells its loss")
    checkpoints: Annotated[Checkpoints, Mark("conduct")] = Checkpoints()
    workers: Annotated[Annotated[int, Field(ge=0)] | Elastic | None, Mark("conduct")] = Field(
        None,
        description="DDP workers, or {min, max} of them; None: one a GPU of the cluster, or one a node; 0 trains in "
        "this process, without Ray. A batch is per worker: name a number where results must not depend on the cluster",
    )
    cpus_per_worker: Annotated[float | None, Mark("conduct")] = Field(
        None, gt=0, description="None: one beside a GPU; without GPUs what the tasks that feed leave"
    )
    precision: Literal["auto", "float32"] = Field(
        "auto", description="auto: bfloat16 (and TF32) where the device is fast at it; float32: nothing less anywhere"
    )
    compile: Annotated[Compile, Mark("conduct")] = Field(
        "auto", description="torch.compile; auto: on CUDA, in long runs; never on a CPU"
    )
    max_failures: Annotated[int, Mark("conduct")] = Field(
        3, ge=0, description="failures in a row, with no report between them; nodes taken away are not counted"
    )
    patience_s: Annotated[float, Mark("conduct")] = Field(
        1800, gt=0, description="wait so long for room for the workers, all waits of a command together"
    )
    label: Annotated[str | None, Mark("name")] = Field(
        None, min_length=1, max_length=40, description="what results call the encoder; None: by its objective"
    )
    register_as: Annotated[str | None, Mark("name")] = Field(
        None, description="registered model; None: herbray-<objective>"
    )
    experiment: Annotated[str, Mark("name", "all trials are tracked in one experiment")] = "herbray"
    store: Annotated[Path, Mark("place", "all trials are tracked in one store")] = Field(
        Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set"
    )
    seed: int = 89

    @property
    def result_name(self) -> str:
        """What results call the encoder."""
        return self.label or self.objective.name

    @property
    def model_name(self) -> str:
        """Name of the registered model that the encoder becomes a version of."""
        return self.register_as or f"herbray-{self.objective.name}"

    @property
    def most_workers(self) -> int:
        """At once; of a job that leaves the choice to the cluster, one until it has been made."""
        return self.workers.max if isinstance(self.workers, Elastic) else self.workers or 1

    @property
    def fewest_workers(self) -> int:
        """Fewer do not begin; see `most_workers`."""
        return self.workers.min if isinstance(self.workers, Elastic) else self.workers or 1
