"""The training step of each objective: how much of the chip it uses, and what feeding it from shards costs."""

import functools
import itertools
import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import torch
from pydantic import Field
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from herbray.benchmark.contests.peaks import peak_of
from herbray.benchmark.contests.shards import write_shards
from herbray.benchmark.harness.figures import spread
from herbray.benchmark.harness.race import Case, Contender, Lap, Measured, cpu_seconds
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target, Verdict
from herbray.config import parse
from herbray.flow.input.batches import Batch, Loader, WindowReader, local
from herbray.flow.input.loader import feed
from herbray.flow.input.to_device import Placed, placed
from herbray.flow.training.loop import build_learner
from herbray.flow.training.specification import Train
from herbray.flow.training.step import make_optimizer, take_step, wrap_model
from herbray.flow.training.training_data import TrainingData, read_training_data
from herbray.flow.training.world import World
from herbray.model.compiled import Compile, worthwhile
from herbray.model.denormal import flushed

FED: Final = "herbray"
READY: Final = "herbray: decoded tensors on the device"
PAPER_IMAGES: Final = 424_544 * 25
"""Images of a training run of Walker et al. 2022: specimens × epochs."""
_PAPER_PX: Final = 256
_HELD: Final = 4  # batches that `READY` takes turns with
_GENERA: Final = 40
_AUTOENCODER_BATCH: Final = 128  # on a GPU

Objectives = Literal["autoencoder", "triplet", "classifier"]


@dataclass(frozen=True)
class Share:
    """How much of the chip's peak the step reaches. Told, not judged: no share is promised."""

    case: str
    contender: str
    flops: float  # an image
    device: torch.device

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """By the clock; convolutions and matrix products are counted, nothing else."""
        promise = f"{self.contender}: share of the peak at {self.flops / 1e9:.2f} GFLOP an image"
        rate = spread(laps, self.case, self.contender, "rate")
        if rate is None:
            return Verdict(self.case, promise, "not measured", None)
        done, peak = rate.median * self.flops / 1e12, peak_of(self.device)
        told = f"{done:.3g} TFLOP/s, {done / peak.tflops:.0%} of {peak.tflops:.3g} ({peak.told})"
        return Verdict(self.case, promise, told, None)


@dataclass(frozen=True)
class Budget:
    """The paper's training of 424,544 × 25 images at 256 px, at the rate that was measured."""

    case: str
    contender: str
    size: int
    device: str
    minutes: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """On an H200 at 256 px alone; elsewhere the projection is told and not judged."""
        promise = f"{self.contender}: {PAPER_IMAGES:,} images at {_PAPER_PX} px in ≤ {self.minutes:g} minutes, one H200"
        rate = spread(laps, self.case, self.contender, "rate")
        if rate is None:
            return Verdict(self.case, promise, "not measured", None)
        minutes = PAPER_IMAGES / rate.median / 60
        told = f"{minutes:,.1f} minutes" if minutes < 120 else f"{minutes / 60:,.0f} hours"
        if "H200" not in self.device or self.size != _PAPER_PX:
            return Verdict(self.case, promise, f"{told} projected, on {self.device} at {self.size} px", None)
        return Verdict(self.case, promise, told, minutes <= self.minutes)


class Step(BenchmarkSpec):
    """The step as in training: channels-last, and bfloat16 and torch.compile where the device has them.

    Both contenders augment on the device. One gets its batches from JPEG shards, read and decoded in this process
    without Ray while the device computes; the other has them decoded in the device's memory.
    """

    name: Literal["step"] = "step"
    objectives: tuple[Objectives, ...] = Field(
        ("autoencoder", "triplet", "classifier"), min_length=1, description="objectives, one case each"
    )
    size: int | None = Field(None, ge=32, description="pixels; None: 256 on a GPU, 64 on a CPU")
    batch: int | None = Field(
        None, ge=8, multiple_of=8, description="images; None: 512 on a GPU (the autoencoder 128), 32 on a CPU"
    )
    steps: int | None = Field(None, ge=1, description="of a lap; None: 40 on a GPU, 4 on a CPU")
    compile: Compile = Field("auto", description="torch.compile, as in the settings of `train`")

    def cases(self, work: Path) -> Iterator[Case]:
        """One an objective."""
        most = max(self._sizes(name)[1] for name in self.objectives)
        write_shards(work / "shards", 2 * _HELD * most, self._sizes()[0], self.seed, _GENERA)
        for name in self.objectives:
            with flushed():
                yield self._case(self._spec(name, work))

    def targets(self) -> Sequence[Promise]:
        """Feeding hides behind the step; the paper's whole budget in minutes."""
        size, device = self._sizes()[0], _device()
        chip = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
        kept: list[Promise] = []
        for name in self.objectives:
            case, flops = self._title(name), flops_an_image(self._spec(name, Path()))
            kept.append(Target(case, FED, READY, "rate", 0.95))
            kept += [Share(case, contender, flops, device) for contender in (READY, FED)]
            kept.append(Budget(case, FED, size, chip, 20))
        return kept

    def _sizes(self, name: str = "") -> tuple[int, int, int]:
        """Pixels, images of a step and steps of a lap.

        An image of 256 px holds 250 MB of the autoencoder's activations, and torch enlarges no 256 of them at once.
        """
        many = _AUTOENCODER_BATCH if name == "autoencoder" else 512
        usual = (256, many, 40) if _device().type == "cuda" else (64, 32, 4)
        return self.size or usual[0], self.batch or usual[1], self.steps or usual[2]

    def _title(self, name: str) -> str:
        size, batch, _ = self._sizes(name)
        return f"{name}, {batch} images of {size} px a step"

    def _spec(self, name: str, work: Path) -> Train:
        """Of a run that is long enough for all laps."""
        size, batch, steps = self._sizes(name)
        needed = (self.rounds + 1) * (steps + _ahead()) + _HELD
        tree = {
            "shards": work / "shards",
            "objective": {"name": name},
            "encoder": {"size": size},
            "stream": {"batch": batch, "window": max(1, batch // 32), "align": 1},
            "epochs": math.ceil(needed / _HELD),
            "compile": self.compile,
            "workers": 0,
            "seed": self.seed,
        }
        return parse(Train, tree)

    def _case(self, spec: Train) -> Case:
        device, data = _device(), read_training_data(spec)
        train = functools.partial(_lap, _Run(spec, data, device), self._sizes()[2])
        ready, fed = _ready(spec, data, device), _fed(spec, data, device)
        contenders = [
            Contender(FED, lambda: train(fed, _ahead()), fed.close),
            Contender(READY, lambda: train(ready, 0)),
        ]
        return Case(self._title(spec.objective.name), "images", contenders)


class _Run:
    """A learner and its optimizer, as `flow.learn` has them; both contenders train the same."""

    def __init__(self, spec: Train, data: TrainingData, device: torch.device) -> None:
        self.spec, self.device = spec, device
        learner = build_learner(spec, len(data.classes), None).to(device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(spec.optimizer, learner)
        steps = PAPER_IMAGES // spec.stream.batch  # what a run takes for which speed matters
        self.model: nn.Module = wrap_model(learner, World(device=device), worthwhile(spec.compile, device, steps))

    def step(self, batch: Placed) -> None:
        take_step(self.model, self.optimizer, self.spec.optimizer.lr, batch, self.spec)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _lap(run: _Run, steps: int, batches: Iterator[Placed], before: int) -> Measured:
    """So many steps, after some that are not measured: what was decoded between laps would flatter."""
    for batch in itertools.islice(batches, before):
        run.step(batch)
    run.wait()
    spent, start, images = cpu_seconds(), time.perf_counter(), 0
    for batch in itertools.islice(batches, steps):
        run.step(batch)
        images += len(batch.labels)
    run.wait()
    return Measured(images, time.perf_counter() - start, max(1e-9, cpu_seconds() - spent))


def _ready(spec: Train, data: TrainingData, device: torch.device) -> Iterator[Placed]:
    """The same few batches for ever."""
    decoded = itertools.islice(local(data.windows, WindowReader(spec.shards, data.manifest["side"])), _HELD)
    return itertools.cycle(list(placed(decoded, device)))


def _fed(spec: Train, data: TrainingData, device: torch.device) -> Generator[Placed, None, None]:
    """Batches from shards, one stream over all laps; begun when the first is asked for."""
    reader = WindowReader(spec.shards, data.manifest["side"])
    batches = feed(data.windows, reader, spec.loader, data.manifest["fingerprint"])
    with closing(cast("Generator[Batch, None, None]", batches)):
        yield from placed(batches, device)


def flops_an_image(spec: Train, rows: int = 16) -> float:
    """Operations of a step for one image, counted by torch while a small batch goes forward and back on the CPU.

    A multiplication and an addition are two. Augmentation, norms, activations and the optimizer are not counted.
    """
    learner = build_learner(spec, _GENERA, None)
    images = torch.rand(rows, 3, spec.encoder.size, spec.encoder.size)
    labels = torch.arange(rows) // spec.objective.group
    with FlopCounterMode(display=False) as counter:
        learner(images, labels)["loss"].backward()
    return float(counter.get_total_flops()) / rows


def _ahead() -> int:
    """Batches that may lie decoded when a lap begins: the loader's, those in hand, and the one on the device."""
    return Loader().ahead + 3


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
