"""What one training worker does: windows in, steps, figures and checkpoints out. Knows neither Ray, MLflow nor Tune."""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from herbray import __version__
from herbray.data import plan
from herbray.flow.device import Placed, placed
from herbray.flow.material import Material, Optimizer, Train, World, material
from herbray.flow.stream import Batch, WindowReader, share
from herbray.flow.validate import validate
from herbray.model.augment import augment
from herbray.model.checkpoint import EncoderCard, load_training, save_encoder, save_training
from herbray.model.compiled import worthwhile
from herbray.model.denormal import flushed
from herbray.model.encoder import build_encoder
from herbray.model.learner import Learner, parallel
from herbray.model.portable import DIMS

Feed = Callable[[Sequence[plan.Window], WindowReader], Iterable[Batch]]
Report = Callable[[Mapping[str, float], Path | None], None]
"""Takes figures and, on rank 0 at an epoch's end, a checkpoint folder, which it owns and removes."""


def build_learner(spec: Train, classes: int, weights: Path | None) -> Learner:
    """Encoder and objective at their start weights: a function of the specification alone."""
    encoder = build_encoder(spec.encoder, spec.seed, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        objective = spec.objective.build(encoder.dim, spec.encoder.size, classes)
    return Learner(encoder, objective)


@flushed()
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
    data = material(spec)
    learner = build_learner(spec, len(data.classes), weights).to(world.device).to(memory_format=torch.channels_last)
    steps = len(data.windows) // world.size * data.windows[0].batches
    optimizer = _optimizer(spec.optimizer, learner)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(spec.optimizer, step, steps))
    consumed = 0
    if restore is not None:
        consumed = int(load_training(restore, learner, optimizer, scheduler)["consumed"])
    if spec.precision == "float32":
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # TF32 unless told otherwise
    model = _wrapped(learner, world, worthwhile(spec.compile, world.device, steps))
    reader = WindowReader(spec.shards, data.manifest["side"])
    meter = _Meter(world)
    every = max(1, data.per_epoch // (spec.reports * world.size))
    windows = share(data.windows, world.rank, world.size, consumed)
    for batch in placed(feed(windows, reader), world.device):
        meter.add(_step(model, optimizer, scheduler, batch, spec), len(batch.labels))
        if not batch.last:
            continue
        before, consumed = consumed, consumed + world.size
        last = len(data.windows) - consumed < world.size
        if last or consumed // data.per_epoch > before // data.per_epoch:
            figures = meter.figures() | _place(data, consumed, optimizer) | validate(spec, data, learner, world)
            position = figures | {"consumed": consumed}
            report(figures, _saved(spec, data, learner, optimizer, scheduler, position) if world.rank == 0 else None)
            meter.restart()
        elif (consumed // world.size) % every == 0:
            report(meter.figures() | _place(data, consumed, optimizer), None)


def _wrapped(learner: Learner, world: World, compiled: bool) -> nn.Module:
    """What takes a step: compiled in place, so that names of parameters stay; under DDP where there are others."""
    if world.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every batch has one shape
    if compiled:
        learner.encoder.compile(dynamic=False)
    return learner if world.size == 1 else parallel(learner)


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
    batch: Placed,
    spec: Train,
) -> dict[str, Tensor]:
    """One optimizer step. Every random number in it follows from the batch's own seed: a resumed run draws the same."""
    model.train()
    torch.manual_seed(batch.seed)
    images = augment(batch.images, batch.seed, spec.encoder.size, spec.augment, spec.objective.views)
    labels = batch.labels.repeat_interleave(spec.objective.views)
    device = images.device.type
    fast = device == "cuda" and spec.precision == "auto"  # on a CPU without bfloat16 it is ten times slower
    with torch.autocast(device, torch.bfloat16, enabled=fast):
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
        self.restart()

    def restart(self) -> None:
        """Begin anew: what lies between two steps does not count."""
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
        self.restart()
        return figures


def _saved(
    spec: Train,
    data: Material,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    position: Mapping[str, float],
) -> Path:
    """A checkpoint in a new folder: all that a resumed run needs, and the encoder alone, ready to be registered."""
    folder = Path(tempfile.mkdtemp(prefix="herbray-"))
    try:
        save_training(folder, learner, optimizer, scheduler, dict(position))
        save_encoder(folder / "encoder", learner.encoder, card(spec, data))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def card(spec: Train, data: Material) -> EncoderCard:
    """What travels with the weights."""
    return EncoderCard(
        arch=spec.encoder.arch,
        stem=spec.encoder.stem,
        normalise=spec.encoder.normalise,
        size=spec.encoder.size,
        dim=DIMS[spec.encoder.arch],
        classes=data.classes,
        objective=spec.objective.name,
        init=spec.encoder.init,
        seed=spec.seed,
        shards_fingerprint=data.manifest["fingerprint"],
        citation=data.manifest["citation"],
        spec=spec.model_dump(mode="json", exclude={"shards", "out", "store", "loader"}),
        herbray=__version__,
    )
