"""The triplet benchmark: a training step in three forms, and mining and loss against pytorch-metric-learning."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from herbray.benchmark.harness.figures import Figure
from herbray.benchmark.harness.race import Case, Contender, Missing
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.learner import Learner
from herbray.model.objectives.triplet import Triplet
from herbray.model.speed.denormals import flush_denormals

Loss = Callable[[Tensor], Tensor]

_THREE, _JOINED, _PML = "three forwards, as published", "one concatenated forward", "pytorch-metric-learning"
_MININGS: Final[tuple[Literal["all", "hard"], ...]] = ("all", "hard")


class TripletStep(BenchmarkSpec):
    """A triplet is an anchor with a positive and a negative: three images in the published form, one in ours.

    Ours is counted as one triplet per image, although mining "all" learns from every triplet of the batch.
    """

    name: Literal["triplet"] = "triplet"
    images: int = Field(96, ge=6, multiple_of=3, description="images per step, in every form")
    group: int = Field(4, ge=2, description="images of one genus in our batch")
    size: int = Field(64, ge=32, description="pixels")
    batches: tuple[int, ...] = Field(
        (256, 512, 1024, 2048, 4096), description="batch sizes of the cases with mining and loss alone"
    )
    dim: int = Field(512, ge=1, description="length of a row in the cases with mining and loss alone")
    margin: float = Field(0.1, gt=0, description="margin of the loss")
    peer_gib: float = Field(6.0, gt=0, description="GiB; a peer that needs more for its n³ triplets is left out")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wrong = [n for n in (self.images, *self.batches) if n % self.group or n < 2 * self.group]
        if wrong:
            raise ValueError(
                f"{wrong[0]} rows do not make two or more groups of {self.group}: choose a larger multiple of "
                f"{self.group}"
            )
        return self

    def cases(self, work: Path) -> Iterator[Case]:
        """The step, then mining and loss by batch size; all inputs are in memory, on the GPU if there is one."""
        del work
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with flush_denormals():  # for all contenders
            yield Case(self._step_case(), "triplets", self._steps(device), least_s=0.5)
            for batch in self.batches:
                for mining in _MININGS:
                    yield self._losses(batch, mining, device)

    def targets(self) -> Sequence[Promise]:
        """The step against the published form, mining and loss against the library's; on a GPU by wall time."""
        alone = [self._loss_case(batch, mining) for batch in self.batches for mining in _MININGS]
        figure: Figure = "rate" if torch.cuda.is_available() else "cpu_ms"
        return [
            Target(self._step_case(), "herbray", _THREE, figure, 3.5),
            *(Target(case, "herbray", _PML, figure, 2.5) for case in alone),
        ]

    def _step_case(self) -> str:
        return f"training step, {self.images} images of {self.size} px"

    def _loss_case(self, batch: int, mining: str) -> str:
        return f"{mining}: mining, loss and gradient, {batch} × {self.dim}"

    def _steps(self, device: torch.device) -> list[Contender]:
        generator = torch.Generator().manual_seed(self.seed)
        images = torch.rand(self.images, 3, self.size, self.size, generator=generator).to(device)
        labels = (torch.arange(self.images) // self.group).to(device)
        return [
            Contender("herbray", _ours(self, images, labels)),
            Contender(_THREE, _published(self, images, joined=False)),
            Contender(_JOINED, _published(self, images, joined=True)),
        ]

    def _losses(self, batch: int, mining: Literal["all", "hard"], device: torch.device) -> Case:
        generator = torch.Generator().manual_seed(self.seed)
        labels = (torch.arange(batch) // self.group).to(device)
        centres = torch.randn(batch // self.group, self.dim, generator=generator).repeat_interleave(self.group, dim=0)
        rows = (centres + torch.randn(batch, self.dim, generator=generator)).to(device)
        objective = Triplet(mining=mining, margin=self.margin).build(self.dim, 1, 1)
        ours: Loss = lambda features: objective(features, features, labels)["loss"]  # noqa: E731
        peer = _library(self, batch, mining, labels)
        contenders: list[Contender | Missing] = [Contender("herbray", _gradient(ours, rows))]
        if isinstance(peer, Missing):
            return Case(self._loss_case(batch, mining), "rows", [*contenders, peer])
        contenders.append(Contender(_PML, _gradient(peer, rows)))
        check = lambda: same(ours, peer, rows)  # noqa: E731
        return Case(self._loss_case(batch, mining), "rows", contenders, check, least_s=0.2)


def same(ours: Loss, theirs: Loss, rows: Tensor) -> None:
    """Compare two losses and their gradients at `rows` [n, d].

    Raises:
        ValueError: they differ by more than rounding.
    """
    values, gradients = [], []
    for loss in (ours, theirs):
        leaf = rows.clone().requires_grad_()
        value = loss(leaf)
        value.backward()  # type: ignore[no-untyped-call]
        values.append(value.item())
        gradients.append(torch.zeros_like(rows) if leaf.grad is None else leaf.grad)
    if not math.isclose(*values, rel_tol=1e-4, abs_tol=1e-6):
        raise ValueError(f"the losses differ: {values[0]} and {values[1]}")
    gap = float((gradients[0] - gradients[1]).norm() / gradients[1].norm().clamp_min(1e-12))
    if gap > 1e-2:
        raise ValueError(f"the gradients differ by {gap:.1%} of their length")


def _gradient(loss: Loss, rows: Tensor) -> Callable[[], int]:
    def run() -> int:
        leaf = rows.detach().requires_grad_()
        loss(leaf).backward()  # type: ignore[no-untyped-call]
        _wait(rows.device)
        return len(rows)

    return run


def _library(spec: TripletStep, batch: int, mining: Literal["all", "hard"], labels: Tensor) -> Loss | Missing:
    """The library's equivalent: the mean over all triplets inside the margin, or over each anchor's hardest triplet."""
    try:
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import BatchHardMiner
        from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer
    except ImportError as error:
        return Missing(_PML, f"{error}; pip install 'herbray[benchmark]'")
    triplets = batch * (spec.group - 1) * (batch - spec.group)
    needed = (batch**3 + 60 * triplets) / 2**30  # its mask of all triplets, then about 60 bytes for each of them
    if mining == "all" and needed > spec.peer_gib:
        return Missing(_PML, f"needs about {needed:.0f} GiB for its n³ mask; raise peer_gib to allow it")
    if mining == "all":
        every: Any = TripletMarginLoss(margin=spec.margin, reducer=AvgNonZeroReducer())
        return lambda features: every(features, labels)
    hardest: Any = TripletMarginLoss(margin=spec.margin, reducer=MeanReducer())
    miner = BatchHardMiner()
    return lambda features: hardest(features, labels, miner(features, labels))


def _ours(spec: TripletStep, images: Tensor, labels: Tensor) -> Callable[[], int]:
    """The step of herbray's training: one forward per image, channels last, a fused optimizer."""
    encoder = build_encoder(EncoderSpec(size=spec.size), spec.seed)
    objective = Triplet(margin=spec.margin, group=spec.group).build(encoder.dim, spec.size, 1)
    learner = Learner(encoder, objective).to(images.device).to(memory_format=torch.channels_last)
    optimizer = _optimizer(learner)
    batch = images.contiguous(memory_format=torch.channels_last)

    def run() -> int:
        with _fast(images.device):
            loss = learner(batch, labels)["loss"]
        _descend(optimizer, loss)
        return len(images)

    return run


def _published(spec: TripletStep, images: Tensor, joined: bool) -> Callable[[], int]:
    """Anchor, positive and negative in three forward passes (Walker et al. 2022), or joined in one forward pass.

    Layout and optimizer are the same as ours, so that only the form of the step differs.
    """
    encoder = build_encoder(EncoderSpec(size=spec.size), spec.seed).to(images.device)
    encoder = encoder.to(memory_format=torch.channels_last)
    optimizer = _optimizer(encoder)
    batch = images.contiguous(memory_format=torch.channels_last)
    streams = [stream.contiguous(memory_format=torch.channels_last) for stream in images.chunk(3)]

    def run() -> int:
        with _fast(images.device):
            made = encoder(batch).chunk(3) if joined else [encoder(stream) for stream in streams]
            loss = functional.triplet_margin_loss(made[0], made[1], made[2], margin=1.0)
        _descend(optimizer, loss)
        return len(streams[0])

    return run


def _optimizer(module: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer of all forms."""
    return torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    _wait(loss.device)


def _fast(device: torch.device) -> torch.autocast:
    """Half precision on a GPU, for all forms."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
