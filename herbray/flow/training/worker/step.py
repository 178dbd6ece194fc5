"""One training step: the optimizer, the learning rate as a function of the position in the run, and the update."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from herbray.flow.input.to_device import DeviceBatch
from herbray.flow.training.specification import Optimizer, Train
from herbray.flow.training.worker.parameter_groups import group_parameters
from herbray.flow.training.world import World
from herbray.model.augment import augment
from herbray.model.learner import Learner, wrap_ddp
from herbray.model.portable import find_architecture
from herbray.model.speed.allocator import reuse_memory
from herbray.model.speed.depthwise import speed_up_depthwise


def make_optimizer(spec: Optimizer, learner: Learner) -> torch.optim.Optimizer:
    """One optimizer for all parameters, in the groups of `group_parameters`."""
    groups = group_parameters(spec, learner)
    kind: type[torch.optim.Optimizer] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[spec.name]
    return kind(groups, lr=spec.lr, fused=True)  # type: ignore[call-arg]


class Rate(NamedTuple):
    """The learning rate of a step; `frozen` if the encoder is not trained yet; the decay of the weights' average."""

    lr: float
    frozen: bool = False
    decay: float = 0.0


def rate_at(spec: Optimizer, step: float, steps: float) -> Rate:
    """The rate of a step: `learning_rate`, with the encoder frozen during the first `freeze` of all steps.

    The average of the weights follows them closely at first, so that the start weights are soon forgotten: its decay
    rises with the step to `average`.
    """
    decay = min(spec.average, (1 + step) / (10 + step))
    return Rate(learning_rate(spec, step, steps), step < round(spec.freeze * steps), decay)


def learning_rate(spec: Optimizer, step: float, steps: float) -> float:
    """Learning rate: linear warm-up, then constant or half a cosine to zero.

    A function of the position alone: a resumed run needs no scheduler state, whatever its number of workers.

    Args:
        spec: of the optimizer.
        step: steps taken, from 0; a fraction if another number of workers took the earlier steps.
        steps: of the whole run.
    """
    rising = max(1, round(spec.warmup * steps))
    if spec.warmup and step < rising:
        return spec.lr * (step + 1) / rising
    if spec.schedule == "constant":
        return spec.lr
    return spec.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1.0, steps - rising))))


def side_at(spec: Train, step: float, steps: float) -> int:
    """Side in pixels of the training images of a step: a multiple of 16 px and of the architecture's step."""
    size, unit = spec.encoder.size, math.lcm(16, find_architecture(spec.encoder.arch).step)
    share = spec.sides[min(len(spec.sides) - 1, int(step / steps * len(spec.sides)))]
    return size if share == 1 else min(size, max(unit, round(size * share / unit) * unit))


def wrap_model(learner: Learner, world: World, compiled: bool) -> nn.Module:
    """The module that takes a step: changed in place, so that parameter names stay; under DDP with several ranks."""
    if world.device.type == "cpu":
        reuse_memory()
        speed_up_depthwise(learner.encoder)
    if world.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # batches have few shapes
    if compiled:
        learner.encoder.compile(dynamic=False)
    return learner if world.size == 1 else wrap_ddp(learner)


def take_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: Rate,
    batch: DeviceBatch,
    spec: Train,
    side: int,
    targets: Tensor | None = None,
) -> dict[str, Tensor]:
    """One optimizer step. All random numbers follow from the batch's seed: a resumed run draws the same ones.

    Args:
        model: the learner, maybe in DDP.
        optimizer: of its parameters.
        rate: of this step.
        batch: n rows.
        spec: of the job.
        side: of the augmented images in pixels.
        targets: Float [n, t], the teacher's embeddings of the rows, for distillation alone.
    """
    model.train()
    torch.manual_seed(batch.seed)
    images = augment(batch.images, batch.seed, side, spec.augment, spec.objective.views)
    labels = batch.labels.repeat_interleave(spec.objective.views)
    more = () if targets is None else (targets.repeat_interleave(spec.objective.views, dim=0),)
    device = images.device.type
    fast = device == "cuda" and spec.precision == "auto"  # on a CPU without bfloat16 it is ten times slower
    with torch.autocast(device, torch.bfloat16, enabled=fast):
        out: dict[str, Tensor] = model(images.contiguous(memory_format=torch.channels_last), labels, *more)
    for group in optimizer.param_groups:
        frozen = rate.frozen and group.get("encoder", False)
        group["lr"] = 0.0 if frozen else rate.lr * group.get("scale", 1.0)
    optimizer.zero_grad(set_to_none=True)
    out["loss"].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {name: value.detach() for name, value in out.items()}
