"""The training loop of one worker: windows in; steps, metrics, checkpoints out. Knows neither Ray, MLflow nor Tune."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from herbray import __version__
from herbray.data.planning.window import Window
from herbray.flow.input.batches import windows_of_rank
from herbray.flow.input.to_device import batches_on_device
from herbray.flow.input.window_reader import Batch, WindowReader
from herbray.flow.training.checkpoints.coordinator import CheckpointCoordinator
from herbray.flow.training.checkpoints.directory import CheckpointDirectory
from herbray.flow.training.fingerprints import fingerprint_of
from herbray.flow.training.meter import Meter
from herbray.flow.training.runs.identity import public_settings
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import TrainingData
from herbray.flow.training.worker.step import make_optimizer, rate_at, side_at, take_step, wrap_model
from herbray.flow.training.worker.validation import Validator
from herbray.flow.training.world import World
from herbray.model.all_gather import train_alone
from herbray.model.encoder import build_encoder
from herbray.model.encoder_card import EncoderCard
from herbray.model.learner import Learner
from herbray.model.objectives.base import NO_FACTS, DataFacts
from herbray.model.portable import find_architecture
from herbray.model.speed.compilation import should_compile
from herbray.model.speed.denormals import flush_denormals

Feed = Callable[[Sequence[Window], WindowReader], Iterable[Batch]]
Report = Callable[[Mapping[str, float]], None]


def build_learner(spec: Train, classes: int, weights: Path | None, facts: DataFacts = NO_FACTS) -> Learner:
    """Encoder and objective at their start weights: a function of the specification and the labels alone."""
    encoder = build_encoder(spec.encoder, spec.seed, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        objective = spec.objective.build(encoder.dim, spec.encoder.size, classes, facts)
    return Learner(encoder, objective, averaged=spec.optimizer.average > 0)


@flush_denormals()
def train_loop(
    spec: Train,
    data: TrainingData,
    weights: Path | None,
    world: World,
    feed: Feed,
    checkpoints: CheckpointDirectory | None,
    report: Report,
    leaving: Callable[[], bool] = lambda: False,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Train on this worker's share of the plan, from the newest checkpoint to the end, or until asked to stop.

    Args:
        spec: of the job.
        data: what its shards say.
        weights: folder with the start weights, if `encoder.init` names some.
        world: this worker's place.
        feed: makes batches of windows: through Ray, or in this process.
        checkpoints: of the run; None writes none.
        report: called with the same figures at the same steps on every rank. What was reported between a checkpoint
            and an interruption is reported again.
        leaving: whether a machine is about to be taken away, the same on all ranks; if so, a checkpoint is written.
        stopping: whether the job has been asked to stop, as rank 0 knows; if so, all ranks return after the next
            window, when a checkpoint has been written.

    Raises:
        ValueError: bad input, see `read_training_data`; or fewer windows than workers.
        FloatingPointError: the loss is no longer finite.
        OSError: the last checkpoint could not be written.
    """
    if len(data.windows) < world.size:
        raise ValueError(f"{len(data.windows)} windows for {world.size} workers: lower workers or stream.window")
    learner = build_learner(spec, len(data.classes), weights, data.facts)
    start = fingerprint_of(learner.encoder)  # before a checkpoint is put in its place
    learner = learner.to(world.device).to(memory_format=torch.channels_last)
    with CheckpointCoordinator(checkpoints, world, leaving, stopping) as coordinator:
        _TrainingLoop(spec, data, learner, start, world, coordinator, report).run(feed)


class _TrainingLoop:
    """One worker's state on its way through the plan."""

    def __init__(
        self,
        spec: Train,
        data: TrainingData,
        learner: Learner,
        start: str,
        world: World,
        coordinator: CheckpointCoordinator,
        report: Report,
    ) -> None:
        self.spec, self.data, self.learner, self.world, self.coordinator = spec, data, learner, world, coordinator
        self.start, self.report = start, report
        self.optimizer = make_optimizer(spec.optimizer, learner)
        self.meter = Meter(world)
        self.validator = _make_validator(spec, data, world)
        self.consumed = 0

    def run(self, feed: Feed) -> None:
        """Train on the windows that are left; if the last ones are fewer than the ranks, rank 0 alone takes them."""
        windows, world = self.data.windows, self.world
        self.consumed = self.coordinator.restore(self.learner, self.optimizer, self.meter)
        for figures in self.coordinator.reports:
            self.report(figures)
        if self.spec.precision == "float32":
            torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # TF32 unless told otherwise
        reader = WindowReader(self.spec.shards, self.data.manifest["side"])
        mine = windows_of_rank(windows, world.rank, world.size, self.consumed)
        steps = len(windows) // world.size * windows.batches
        model = wrap_model(self.learner, world, should_compile(self.spec.compile, world.device, steps))
        if mine:
            for _ in self._steps(model, feed(mine, reader), world.size):
                if self._end_window(world.size):
                    return
        if rest := windows[self.consumed :]:
            self._by_rank_0(feed(rest, reader) if world.rank == 0 else (), rest)

    def _by_rank_0(self, batches: Iterable[Batch], windows: Sequence[Window]) -> None:
        """Rank 0 takes the steps; the others meet it at each step, so that none waits longer than a step takes."""
        steps = self._steps(self.learner, batches, 1)
        for window in windows:
            if self.world.rank == 0:
                with train_alone():
                    next(steps)
            else:
                for _ in range(window.batches):
                    self.coordinator.agreed(0)
            for tensor in self.learner.state_dict().values():
                dist.broadcast(tensor, 0)
            if self._end_window(1):
                return
        deque(steps, maxlen=0)  # exhausts the stream

    def _steps(self, model: nn.Module, batches: Iterable[Batch], stride: int) -> Iterator[None]:
        """Take one step per batch; yield at each window's end, when all ranks together have consumed `stride` more."""
        windows, world = self.data.windows, self.world
        per_window = windows.batches
        steps = len(windows) * per_window / world.size
        begun = self.consumed
        for number, batch in enumerate(batches_on_device(batches, world.device)):
            step = (begun * per_window + number * stride) / world.size
            rate, side = rate_at(self.spec.optimizer, step, steps), side_at(self.spec, step, steps)
            targets = teacher.find(batch.rows).to(world.device) if (teacher := self.data.teacher) else None
            self.meter.add(take_step(model, self.optimizer, rate, batch, self.spec, side, targets), len(batch.labels))
            self.learner.update_average(rate.decay)
            if stride < world.size:
                self.coordinator.agreed(0)
            if batch.last:
                yield

    def _end_window(self, stride: int) -> bool:
        """Report and save if either is due, the same on all ranks; return whether to stop."""
        per_epoch, reports = self.data.per_epoch, self.spec.reports
        before, self.consumed = self.consumed, self.consumed + stride
        stop = self.coordinator.must_stop()
        if self.consumed // per_epoch > before // per_epoch:
            figures = self.meter.figures() | self._place()
            figures |= self.validator.figures(self.learner) if self.validator else {}
            self._report(figures)
            self.meter.skip()
            self._save(figures)
        else:
            if self.consumed * reports // per_epoch > before * reports // per_epoch:
                self._report(self.meter.figures() | self._place())
            if self.coordinator.due(before, self.consumed) or stop:
                self._save()
        if not stop:
            self.coordinator.keep_up(self.consumed + stride)
        return stop

    def _report(self, figures: dict[str, float]) -> None:
        self.report(figures)
        self.coordinator.reports.append(figures)

    def _save(self, figures: dict[str, float] | None = None) -> None:
        about = encoder_card(self.spec, self.data, self.start) if figures else None
        self.coordinator.save(self.learner, self.optimizer, self.meter, self.consumed, figures, about)

    def _place(self) -> dict[str, float]:
        per_epoch = self.data.per_epoch
        images = self.consumed * self.data.windows.batches * self.spec.stream.batch
        place = {"epoch": self.consumed / per_epoch, "epochs_done": float(self.consumed // per_epoch)}
        return place | {"images": float(images), "lr": max(float(group["lr"]) for group in self.optimizer.param_groups)}


def _make_validator(spec: Train, data: TrainingData, world: World) -> Validator | None:
    if data.validation is None:
        return None
    targets = data.teacher.validation if data.teacher else None
    return Validator(spec, data.validation, data.manifest["side"], world, targets)


def encoder_card(spec: Train, data: TrainingData, start: str) -> EncoderCard:
    """What travels with the weights; `start` is the fingerprint of the encoder that training began as."""
    return EncoderCard(
        arch=spec.encoder.arch,
        stem=spec.encoder.stem,
        normalise=spec.encoder.normalise,
        size=spec.encoder.size,
        geometry=data.manifest.get("geometry", "crop"),
        dim=find_architecture(spec.encoder.arch).dim,
        rank=data.manifest["rank"],
        classes=data.classes,
        objective=spec.objective.name,
        label=spec.label,
        init=spec.encoder.init,
        seed=spec.seed,
        start=start,
        shards_fingerprint=data.manifest["fingerprint"],
        citation=data.manifest["citation"],
        spec=public_settings(spec, "conduct", "progress", "name"),
        herbray=__version__,
    )
