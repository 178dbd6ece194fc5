"""What one training worker does: windows in, steps, figures and checkpoints out. Knows neither Ray, MLflow nor Tune."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from herbray import __version__
from herbray.config import Spec
from herbray.data import plan
from herbray.flow.shard import read_index, read_manifest
from herbray.flow.stream import Batch, WindowReader, local, share
from herbray.model.augment import Augment, augment, prepare
from herbray.model.checkpoint import EncoderCard, load_training, save_encoder, save_training
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.learner import Learner
from herbray.model.metrics import knn_accuracy
from herbray.model.objectives import AnyObjective
from herbray.model.objectives.triplet import Triplet

Feed = Callable[[Sequence[plan.Window], WindowReader], Iterable[Batch]]
Report = Callable[[Mapping[str, float], Path | None], None]


class Optimizer(Spec):
    """How the parameters move."""

    name: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of all steps with a rising rate")


class Train(Spec):
    """The training job. Reads a shards folder, writes a run folder and registers an encoder."""

    shards: Path = Path("runs/shards")
    out: Path = Path("runs/train/triplet")
    objective: AnyObjective = Triplet()
    encoder: EncoderSpec = EncoderSpec()
    optimizer: Optimizer = Optimizer()
    augment: Augment = Augment()
    stream: plan.Stream = plan.Stream()
    epochs: int = Field(25, ge=1)
    keep: Literal["best", "last"] = "best"
    validate_rows: int = Field(4096, ge=2, description="most validation specimens that are looked at")
    neighbours: int = Field(5, ge=1, description="k of the k-NN genus accuracy")
    reports: int = Field(4, ge=1, description="how often an epoch tells its loss; a checkpoint is made at its end")
    workers: int = Field(2, ge=0, description="DDP workers; 0 trains in this process, without Ray")
    cpus_per_worker: float | None = Field(None, gt=0, description="None: what leaves a CPU for the tasks that feed")
    max_failures: int = Field(2, ge=0, description="how often a lost worker is replaced")
    register_as: str | None = Field(None, description="registered model; None: herbray-<objective>")
    experiment: str = "herbray"
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = 89


@dataclass(frozen=True)
class World:
    """A worker's place among the others."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Material:
    """What the shards folder says, read once: labels, plan and reader. No image is touched."""

    index: pa.Table
    manifest: dict[str, Any]
    classes: list[str]
    windows: list[plan.Window]
    validation: list[plan.Window]

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
    group = spec.objective.group
    windows = [
        window
        for epoch in range(spec.epochs)
        for window in plan.epoch_plan(index, classes, spec.stream, group, spec.seed, epoch)
    ]
    return Material(index, manifest, classes, windows, _validation(spec, index, classes))


def _validation(spec: Train, index: pa.Table, classes: Sequence[str]) -> list[plan.Window]:
    """Windows of the validation split, the first in the plan's order until `validate_rows` are reached."""
    if "validation" not in index["split"].to_pylist():
        return []
    stream = spec.stream.model_copy(update={"balance": 0.0})
    windows = plan.epoch_plan(index, classes, stream, spec.objective.group, spec.seed, 0, "validation")
    return windows[: math.ceil(spec.validate_rows / (windows[0].batches * windows[0].batch))]


def build_learner(spec: Train, classes: int, weights: Path | None) -> Learner:
    """Encoder and objective at their start weights: a function of the specification alone."""
    encoder = build_encoder(spec.encoder, spec.seed, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        objective = spec.objective.build(encoder.dim, spec.encoder.size, classes)
    return Learner(encoder, objective)


def learn(spec: Train, weights: Path | None, world: World, feed: Feed, restore: Path | None, report: Report) -> None:
    """Train on this worker's share of the plan.

    Args:
        spec: of the job.
        weights: folder with the start weights, where `encoder.init` names some.
        world: this worker's place.
        feed: makes batches of windows: through Ray, or in this process.
        restore: folder of a checkpoint to go on from.
        report: called at the same steps on every rank, with figures and, on rank 0, a checkpoint folder or None.

    Raises:
        ValueError: bad input, see `material`.
        FloatingPointError: the loss is no longer finite.
    """
    torch.set_flush_denormal(True)  # else Adam's second moments of dead weights take the processor's slow path
    data = material(spec)
    learner = build_learner(spec, len(data.classes), weights).to(world.device).to(memory_format=torch.channels_last)
    total = len(data.windows) // world.size
    optimizer = _optimizer(spec.optimizer, learner)
    steps = total * data.windows[0].batches
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(spec.optimizer, step, steps))
    consumed = 0
    if restore is not None:
        consumed = int(load_training(restore, learner, optimizer, scheduler)["consumed"])
    model = DistributedDataParallel(learner) if world.size > 1 else learner
    reader = WindowReader(spec.shards, data.manifest["side"])
    meter = _Meter(world)
    every = max(1, data.per_epoch // (spec.reports * world.size))
    for batch in feed(share(data.windows, world.rank, world.size, consumed), reader):
        meter.add(_step(model, optimizer, scheduler, batch, spec, world), len(batch.labels))
        if not batch.last:
            continue
        before, consumed = consumed, consumed + world.size
        last = len(data.windows) - consumed < world.size
        if last or consumed // data.per_epoch > before // data.per_epoch:
            figures = meter.figures() | _place(data, consumed, optimizer) | validate(spec, data, learner, world)
            with tempfile.TemporaryDirectory(prefix="herbray-") as folder:
                if world.rank == 0:
                    _save(Path(folder), spec, data, learner, optimizer, scheduler, figures | {"consumed": consumed})
                report(figures, Path(folder))
        elif (consumed // world.size) % every == 0:
            report(meter.figures() | _place(data, consumed, optimizer), None)


def _place(data: Material, consumed: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    first = data.windows[0]
    images = consumed * first.batches * first.batch
    place = {"epoch": consumed / data.per_epoch, "epochs_done": float(consumed // data.per_epoch)}
    return place | {"images": float(images), "lr": float(optimizer.param_groups[0]["lr"])}


def _optimizer(spec: Optimizer, learner: Learner) -> torch.optim.Optimizer:
    """One parameter list; norms and biases are not decayed (they have one dimension)."""
    parameters = [p for p in learner.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind: type[torch.optim.Optimizer] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[spec.name]
    return kind(groups, lr=spec.lr, fused=True)  # type: ignore[call-arg]


def _rate(spec: Optimizer, step: int, steps: int) -> float:
    """Factor on the rate: linear warm-up, then constant or half a cosine to zero."""
    rising = max(1, round(spec.warmup * steps))
    if spec.warmup and step < rising:
        return (step + 1) / rising
    if spec.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    batch: Batch,
    spec: Train,
    world: World,
) -> dict[str, Tensor]:
    """One optimizer step. Every random number in it follows from the batch's own seed: a resumed run draws the same."""
    model.train()
    torch.manual_seed(batch.seed)
    pixels = torch.tensor(batch.images).to(world.device, non_blocking=True)  # copied: Ray's arrays are read-only
    images = augment(pixels, batch.seed, spec.encoder.size, spec.augment, spec.objective.views)
    labels = torch.tensor(batch.labels).to(world.device).repeat_interleave(spec.objective.views)
    fast = world.device.type == "cuda"  # bf16 is ten times slower than fp32 on a CPU without it
    with torch.autocast(world.device.type, torch.bfloat16, enabled=fast):
        out: dict[str, Tensor] = model(images.contiguous(memory_format=torch.channels_last), labels)
    optimizer.zero_grad(set_to_none=True)
    out["loss"].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    scheduler.step()
    return {name: value.detach() for name, value in out.items()}


class _Meter:
    """Means since the last report, over the ranks too. Reads nothing from the device until it is asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps, self.rows, self.since = 0, 0, time.monotonic()

    def add(self, out: Mapping[str, Tensor], rows: int) -> None:
        for name, value in out.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.float()
        self.steps += 1
        self.rows += rows

    def figures(self) -> dict[str, float]:
        names = sorted(self.sums)
        means = torch.stack([self.sums[name] for name in names]) / max(1, self.steps)
        if self.world.size > 1:
            dist.all_reduce(means)
            means /= self.world.size
        figures = {f"train_{name}": float(value) for name, value in zip(names, means.tolist(), strict=True)}
        if not math.isfinite(figures["train_loss"]):
            raise FloatingPointError(f"the training loss is {figures['train_loss']}: lower optimizer.lr")
        figures["images_per_s"] = self.rows * self.world.size / max(1e-9, time.monotonic() - self.since)
        self._reset()
        return figures


@torch.no_grad()
def validate(spec: Train, data: Material, learner: Learner, world: World) -> dict[str, float]:
    """k-NN genus accuracy of validation features, the one figure that all objectives share, and the objective's loss.

    Each rank takes its share of the windows; features meet on every rank. A specimen counts once.
    """
    if not data.validation:
        return {}
    if world.size > 1:  # ranks saw different batches: validate the statistics that the checkpoint will hold
        for buffer in learner.buffers():
            dist.broadcast(buffer, 0)
    learner.eval()
    torch.manual_seed(spec.seed)  # an objective may draw pairs
    reader = WindowReader(spec.shards, data.manifest["side"], centre=True)
    found: dict[int, tuple[Tensor, int]] = {}
    losses: list[float] = []
    for batch in local(data.validation[world.rank :: world.size], reader):
        images = prepare(torch.tensor(batch.images).to(world.device), spec.encoder.size)
        labels = torch.tensor(batch.labels).to(world.device)
        features = learner.encoder(images.contiguous(memory_format=torch.channels_last))
        losses.append(float(learner.objective(features, images, labels)["loss"]))
        for row, label, feature in zip(batch.rows.tolist(), batch.labels.tolist(), features.float().cpu(), strict=True):
            found[row] = (feature, label)
    for other, more in _gather((found, losses), world):
        found |= other
        losses += more
    rows = sorted(found)
    features = torch.stack([found[row][0] for row in rows])
    labels = torch.tensor([found[row][1] for row in rows])
    return {"val_knn": knn_accuracy(features, labels, spec.neighbours), "val_loss": sum(losses) / len(losses)}


def _gather(mine: tuple[dict[int, Any], list[float]], world: World) -> Iterator[tuple[dict[int, Any], list[float]]]:
    """What the other ranks found."""
    if world.size == 1:
        return
    everyone: list[Any] = [None] * world.size
    dist.all_gather_object(everyone, mine)
    for rank, theirs in enumerate(everyone):
        if rank != world.rank:
            yield theirs


def _save(
    folder: Path,
    spec: Train,
    data: Material,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    position: Mapping[str, float],
) -> None:
    """A checkpoint: all that a resumed run needs, and the encoder on its own, ready to be registered."""
    save_training(folder, learner, optimizer, scheduler, dict(position))
    save_encoder(folder / "encoder", learner.encoder, card(spec, data))


def card(spec: Train, data: Material) -> EncoderCard:
    """What travels with the weights."""
    return EncoderCard(
        arch=spec.encoder.arch,
        stem=spec.encoder.stem,
        normalise=spec.encoder.normalise,
        size=spec.encoder.size,
        dim=512,
        classes=data.classes,
        objective=spec.objective.name,
        init=spec.encoder.init,
        seed=spec.seed,
        shards_fingerprint=data.manifest["fingerprint"],
        citation=data.manifest["citation"],
        spec=spec.model_dump(mode="json", exclude={"shards", "out", "store"}),
        herbray=__version__,
    )
