"""The step benchmark: how much of the chip each objective's training step uses, and what reading shards costs."""

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
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from herbray.benchmark.contests.peaks import peak_of
from herbray.benchmark.contests.shards import write_shards
from herbray.benchmark.harness.figures import spread
from herbray.benchmark.harness.race import Case, Contender, Lap, Measured, cpu_seconds
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target, Verdict
from herbray.config import parse
from herbray.flow.input.batches import LoaderSpec, sequential_batches
from herbray.flow.input.loader import load_batches
from herbray.flow.input.to_device import DeviceBatch, batches_on_device
from herbray.flow.input.window_reader import Batch, WindowReader
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import TrainingData, read_training_data
from herbray.flow.training.worker.loop import build_learner
from herbray.flow.training.worker.step import Rate, make_optimizer, take_step, wrap_model
from herbray.flow.training.world import World
from herbray.model.portable import DEFAULT_ARCHITECTURE, find_architecture
from herbray.model.speed.compilation import CompileMode, should_compile
from herbray.model.speed.denormals import flush_denormals

FROM_SHARDS: Final = "herbray"
FROM_MEMORY: Final = "herbray: decoded tensors on the device"
AS_BUILT: Final = "torch: decoded tensors, convolutions as torch computes them"
PAPER_IMAGES: Final = 424_544 * 25
"""Images in a training run of Walker et al. 2022: specimens × epochs."""
_PAPER_PX: Final = 256
_READY_BATCHES: Final = 4  # batches that `FROM_MEMORY` repeats
_GENERA: Final = 40
_AUTOENCODER_BATCH: Final = 128  # on a GPU

Objectives = Literal["autoencoder", "triplet", "classifier", "contrastive", "arcface"]


@dataclass(frozen=True)
class PeakShare:
    """The share of the chip's peak that the step reaches. It is printed, not judged: no share is promised."""

    case: str
    contender: str
    flops: float  # per image
    device: torch.device

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Compute from wall time; only convolutions and matrix products are counted."""
        promise = f"{self.contender}: share of the peak at {self.flops / 1e9:.2f} GFLOP an image"
        rate = spread(laps, self.case, self.contender, "rate")
        if rate is None:
            return Verdict(self.case, promise, "not measured", None)
        done, peak = rate.median * self.flops / 1e12, peak_of(self.device)
        measured = f"{done:.3g} TFLOP/s, {done / peak.tflops:.0%} of {peak.tflops:.3g} ({peak.source})"
        return Verdict(self.case, promise, measured, None)


@dataclass(frozen=True)
class Budget:
    """The time of the paper's training, 424,544 × 25 images at 256 px, at the measured rate."""

    case: str
    contender: str
    size: int
    device: str
    minutes: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Judge only on an H200 at 256 px; elsewhere the projected time is printed, not judged."""
        promise = f"{self.contender}: {PAPER_IMAGES:,} images at {_PAPER_PX} px in ≤ {self.minutes:g} minutes, one H200"
        rate = spread(laps, self.case, self.contender, "rate")
        if rate is None:
            return Verdict(self.case, promise, "not measured", None)
        minutes = PAPER_IMAGES / rate.median / 60
        duration = f"{minutes:,.1f} minutes" if minutes < 120 else f"{minutes / 60:,.0f} hours"
        if "H200" not in self.device or self.size != _PAPER_PX:
            return Verdict(self.case, promise, f"{duration} projected, on {self.device} at {self.size} px", None)
        return Verdict(self.case, promise, duration, minutes <= self.minutes)


class Step(BenchmarkSpec):
    """The step as in training: channels-last, with bfloat16 and torch.compile if the device supports them.

    Both contenders augment on the device. One reads and decodes its batches from JPEG shards, in this process and
    without Ray, while the device computes; the other has decoded batches in the device's memory. On a CPU, a third one
    trains the network as it is built, without `speed_up_depthwise`.
    """

    name: Literal["step"] = "step"
    objectives: tuple[Objectives, ...] = Field(
        ("autoencoder", "triplet", "classifier"), min_length=1, description="objectives, one case each"
    )
    arch: str = Field(DEFAULT_ARCHITECTURE, description="architecture of the encoder")
    size: int | None = Field(None, ge=32, description="pixels; None: 256 on a GPU, 64 on a CPU")
    batch: int | None = Field(
        None, ge=8, multiple_of=8, description="images; None: 512 on a GPU (autoencoder: 128), 32 on a CPU"
    )
    steps: int | None = Field(None, ge=1, description="steps per lap; None: 40 on a GPU, 4 on a CPU")
    compile: CompileMode = Field("auto", description="torch.compile, as in the settings of `train`")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case per objective."""
        most = max(self._sizes(name)[1] for name in self.objectives)
        write_shards(work / "shards", 2 * _READY_BATCHES * most, self._sizes()[0], self.seed, _GENERA)
        for name in self.objectives:
            with flush_denormals():
                yield self._case(self._spec(name, work))

    def targets(self) -> Sequence[Promise]:
        """Reading shards costs almost nothing, and the paper's whole training takes minutes."""
        size, device = self._sizes()[0], _device()
        chip = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
        kept: list[Promise] = []
        for name in self.objectives:
            case, flops = self._title(name), flops_an_image(self._spec(name, Path()))
            kept.append(Target(case, FROM_SHARDS, FROM_MEMORY, "rate", 0.95))
            if device.type == "cpu":
                kept.append(Target(case, FROM_MEMORY, AS_BUILT, "rate", 0.95))
            kept += [PeakShare(case, contender, flops, device) for contender in (FROM_MEMORY, FROM_SHARDS)]
            kept.append(Budget(case, FROM_SHARDS, size, chip, 20))
        return kept

    def _sizes(self, name: str = "") -> tuple[int, int, int]:
        """Pixels, images per step and steps per lap.

        At 256 px the autoencoder's activations take 250 MB per image, and torch cannot upsample 256 images at once.
        """
        many = _AUTOENCODER_BATCH if name == "autoencoder" else 512
        usual = (256, many, 40) if _device().type == "cuda" else (64, 32, 4)
        return self.size or usual[0], self.batch or usual[1], self.steps or usual[2]

    def _title(self, name: str) -> str:
        size, batch, _ = self._sizes(name)
        network = "" if self.arch == DEFAULT_ARCHITECTURE else f"{find_architecture(self.arch).title}, "
        return f"{network}{name}, {batch} images of {size} px a step"

    def _spec(self, name: str, work: Path) -> Train:
        """The specification of a run that is long enough for all laps."""
        size, batch, steps = self._sizes(name)
        needed = (self.rounds + 1) * (steps + _batches_ahead()) + _READY_BATCHES
        tree = {
            "shards": work / "shards",
            "objective": {"name": name},
            "encoder": {"arch": self.arch, "size": size},
            "stream": {"batch": batch, "window": max(1, batch // 32), "align": 1},
            "epochs": math.ceil(needed / _READY_BATCHES),
            "compile": self.compile,
            "workers": 0,
            "seed": self.seed,
        }
        return parse(Train, tree)

    def _case(self, spec: Train) -> Case:
        device, data = _device(), read_training_data(spec)
        steps = self._sizes()[2]
        train = functools.partial(_measure_lap, _Run(spec, data, device), steps)
        ready, fed = _repeat_batches(spec, data, device), _stream_batches(spec, data, device)
        contenders = [
            Contender(FROM_SHARDS, lambda: train(fed, _batches_ahead()), fed.close),
            Contender(FROM_MEMORY, lambda: train(ready, 0)),
        ]
        if device.type == "cpu":
            as_built = functools.partial(_measure_lap, _Run(spec, data, device, as_built=True), steps)
            contenders.append(Contender(AS_BUILT, lambda: as_built(ready, 0)))
        return Case(self._title(spec.objective.name), "images", contenders)


class _Run:
    """A learner and its optimizer, as in training; the first two contenders train the same learner."""

    def __init__(self, spec: Train, data: TrainingData, device: torch.device, as_built: bool = False) -> None:
        self.spec, self.device = spec, device
        learner = build_learner(spec, len(data.classes), None).to(device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(spec.optimizer, learner)
        steps = PAPER_IMAGES // spec.stream.batch  # as in a run that is long enough for speed to matter
        self.model: nn.Module = learner
        if not as_built:
            self.model = wrap_model(learner, World(device=device), should_compile(spec.compile, device, steps))

    def step(self, batch: DeviceBatch) -> None:
        take_step(self.model, self.optimizer, Rate(self.spec.optimizer.lr), batch, self.spec, self.spec.encoder.size)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _measure_lap(run: _Run, steps: int, batches: Iterator[DeviceBatch], before: int) -> Measured:
    """Measure `steps` steps after `before` others, which use up the batches that were decoded between laps."""
    for batch in itertools.islice(batches, before):
        run.step(batch)
    run.wait()
    spent, start, images = cpu_seconds(), time.perf_counter(), 0
    for batch in itertools.islice(batches, steps):
        run.step(batch)
        images += len(batch.labels)
    run.wait()
    return Measured(images, time.perf_counter() - start, max(1e-9, cpu_seconds() - spent))


def _repeat_batches(spec: Train, data: TrainingData, device: torch.device) -> Iterator[DeviceBatch]:
    """A few decoded batches, repeated without end."""
    decoded = itertools.islice(
        sequential_batches(data.windows, WindowReader(spec.shards, data.manifest["side"])), _READY_BATCHES
    )
    return itertools.cycle(list(batches_on_device(decoded, device)))


def _stream_batches(spec: Train, data: TrainingData, device: torch.device) -> Generator[DeviceBatch, None, None]:
    """Batches from shards, as one stream over all laps, which starts when the first batch is requested."""
    reader = WindowReader(spec.shards, data.manifest["side"])
    batches = load_batches(data.windows, reader, spec.loader, data.manifest["fingerprint"])
    with closing(cast("Generator[Batch, None, None]", batches)):
        yield from batches_on_device(batches, device)


def flops_an_image(spec: Train, rows: int = 16) -> float:
    """Operations of a step per image, counted by torch in a forward and backward pass of a small batch on the CPU.

    A multiply-add counts as two. Augmentation, norms, activations and the optimizer are not counted.
    """
    counted = {torch.ops.aten.convolution_backward: _count_backward}
    learner = build_learner(spec, _GENERA, None)
    images = torch.rand(rows, 3, spec.encoder.size, spec.encoder.size)
    labels = torch.arange(rows) // spec.objective.group
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        learner(images, labels)["loss"].backward()
    return float(counter.get_total_flops()) / rows


def _count_backward(
    gradient: Sequence[int], maps: Sequence[int], weight: Sequence[int], *more: object, **named: object
) -> int:
    """Operations of a convolution's gradients: those of the convolution for each one that is asked for.

    torch's own count of the weight gradient takes a depthwise convolution for a dense one.
    """
    del named
    *_, wanted = more
    forward = conv_flop_count(list(maps), list(weight), list(gradient), transposed=bool(more[4]))
    return forward * sum(map(bool, cast("Sequence[bool]", wanted)[:2]))


def _batches_ahead() -> int:
    """Most batches that can be decoded when a lap starts: those of the loader, in transfer, and on the device."""
    return LoaderSpec().ahead + 3


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
