"""The training job's settings, and what its shards say before an image is touched."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field, model_validator

from herbray.config import Spec
from herbray.data import plan
from herbray.data.draws import draws
from herbray.flow.manifest import read_index, read_manifest
from herbray.flow.stream import Loader
from herbray.model.augment import Augment
from herbray.model.compiled import Compile
from herbray.model.encoder import EncoderSpec
from herbray.model.objectives import AnyObjective
from herbray.model.objectives.triplet import Triplet


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
    """The training job. Reads a shards folder, writes a run folder and registers an encoder."""

    shards: Path = Path("runs/shards")
    out: Path = Path("runs/train/triplet")
    objective: AnyObjective = Triplet()
    encoder: EncoderSpec = EncoderSpec()
    optimizer: Optimizer = Optimizer()
    augment: Augment = Augment()
    stream: plan.Stream = plan.Stream()
    loader: Loader = Loader()
    epochs: int = Field(25, ge=1)
    keep: Literal["best", "last"] = "best"
    validate_rows: int = Field(
        4096, ge=2, description="whole bags of validation specimens are looked at until there are so many"
    )
    neighbours: int = Field(5, ge=1, description="k of the k-NN genus accuracy")
    reports: int = Field(4, ge=1, description="how often an epoch tells its loss")
    checkpoints: Checkpoints = Checkpoints()
    workers: Annotated[int, Field(ge=0)] | Elastic | None = Field(
        None,
        description="DDP workers, or {min, max} of them; None: one a GPU of the cluster, or one a node; 0 trains in "
        "this process, without Ray. A batch is per worker: name a number where results must not depend on the cluster",
    )
    cpus_per_worker: float | None = Field(
        None, gt=0, description="None: one beside a GPU; without GPUs what the tasks that feed leave"
    )
    precision: Literal["auto", "float32"] = Field(
        "auto", description="auto: bfloat16 (and TF32) where the device is fast at it; float32: nothing less anywhere"
    )
    compile: Compile = Field("auto", description="torch.compile; auto: on CUDA, in long runs; never on a CPU")
    max_failures: int = Field(
        3, ge=0, description="failures in a row, with no report between them; nodes taken away are not counted"
    )
    patience_s: float = Field(
        1800, gt=0, description="wait so long for room for the workers, all waits of a command together"
    )
    label: str | None = Field(
        None, min_length=1, max_length=40, description="what results call the encoder; None: by its objective"
    )
    register_as: str | None = Field(None, description="registered model; None: herbray-<objective>")
    experiment: str = "herbray"
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = 89

    @property
    def called(self) -> str:
        """What results call the encoder."""
        return self.label or self.objective.name

    @property
    def registers(self) -> str:
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


@dataclass(frozen=True)
class World:
    """A worker's place among the others."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Material:
    """What the shards folder says, read once: labels, plan and reader. No image is touched.

    Attributes:
        index: of the shards.
        manifest: of the shards.
        classes: genera, in the order of their labels.
        windows: of all epochs.
        validation: windows in the objective's shape; its loss is measured on them.
        gallery: windows of those validation specimens that may be missing there: where rivals are drawn, specimens are
            in a pair by chance.
    """

    index: pa.Table
    manifest: dict[str, Any]
    classes: list[str]
    windows: list[plan.Window]
    validation: list[plan.Window]
    gallery: list[plan.Window]

    @property
    def per_epoch(self) -> int:
        """Windows in an epoch."""
        return max(window.number for window in self.windows) + 1


def material(spec: Train) -> Material:
    """Read the index and lay out all epochs.

    Raises:
        ValueError: no finished shards, shards smaller than the encoder's input, fewer than two genera to train on, or
            a batch that the objective's group does not divide.
    """
    manifest, index = read_manifest(spec.shards), read_index(spec.shards)
    if spec.encoder.size > manifest["side"]:
        raise ValueError(
            f"encoder.size={spec.encoder.size} px, but {spec.shards} holds images of {manifest['side']} px: "
            f"make the shards with side={spec.encoder.size} or larger, or lower encoder.size"
        )
    classes = plan.genera(index)
    if len(classes) < 2:
        raise ValueError(
            f"{spec.shards}: {len(classes)} genus in the training split; an encoder needs two to tell apart"
        )
    group, rivals = spec.objective.group, spec.objective.rivals
    windows = plan.run_plan(index, classes, spec.stream, group, spec.seed, spec.epochs, rivals)
    watched = _watched(index, spec.validate_rows)
    shaped = _validation(spec, watched, classes, group, rivals)
    gallery = _validation(spec, watched, classes, 1, 0) if rivals else []
    return Material(index, manifest, classes, windows, shaped, gallery)


def _watched(index: pa.Table, most: int) -> pa.Table:
    """Bags of the validation split that are looked at: a draw blind to objective, batch and seed.

    Trials of a sweep and seeds of a study are compared by their k-NN accuracy, so all must look at the same specimens.
    """
    bags = index.filter(pc.equal(index["split"], "validation"))
    names = [
        f"{file}/{group}" for file, group in zip(*(bags[n].to_pylist() for n in ("file", "row_group")), strict=True)
    ]
    order = np.argsort(draws(0, "validation", names), kind="stable")
    before = np.cumsum(bags["rows"].to_numpy()[order]) - bags["rows"].to_numpy()[order]
    return bags.take(order[before < most])


def _validation(spec: Train, watched: pa.Table, classes: Sequence[str], group: int, rivals: int) -> list[plan.Window]:
    if not watched.num_rows:
        return []
    stream = spec.stream.model_copy(update={"balance": 0.0})
    return plan.epoch_plan(watched, classes, stream, group, spec.seed, 0, "validation", rivals=rivals)
