"""The train benchmark: the whole `fit` against a bare PyTorch loop on tensors in memory; the gap is herbray's cost."""

import functools
import importlib.util
import itertools
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch.multiprocessing.spawn import spawn

from herbray.benchmark.contests.gate import Gate, GatedRun, set_threads
from herbray.benchmark.contests.shards import write_shards
from herbray.benchmark.harness.figures import spread
from herbray.benchmark.harness.race import Case, Contender, Lap, Measured, Missing
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target, Verdict
from herbray.config import parse
from herbray.flow.input.batches import sequential_batches, threaded_batches, windows_of_rank
from herbray.flow.input.window_reader import WindowReader
from herbray.flow.training import job
from herbray.flow.training.metrics_log import append_metrics
from herbray.flow.training.preparation import prepare_training
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.worker import loop
from herbray.flow.training.world import World
from herbray.model.augment import augment
from herbray.model.learner import wrap_ddp
from herbray.model.objectives import AnyObjective
from herbray.model.objectives.triplet import Triplet
from herbray.model.speed.denormals import flush_denormals

_BARE: Final = "bare DDP loop, tensors in memory"
_WITHOUT_RAY: Final = "herbray: workers=0, without Ray"


@dataclass(frozen=True)
class Scaling:
    """A bound on scaling: several workers are at least `at_least` times as fast as one, given enough cores."""

    one: str
    many: str
    contender: str
    at_least: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Judge by wall time; the bare loop's gain is printed too."""
        gains = {}
        for name in (self.contender, _BARE):
            rates = [spread(laps, case, name, "rate") for case in (self.one, self.many)]
            if rates[0] is None or rates[1] is None:
                return Verdict(self.many, f"≥ {self.at_least:g} × one worker", "not measured", None)
            gains[name] = rates[1].median / rates[0].median
        measured = f"{gains[self.contender]:.2f} × (bare loop {gains[_BARE]:.2f} ×)"
        met = gains[self.contender] >= self.at_least
        return Verdict(self.many, f"{self.contender} ≥ {self.at_least:g} × one worker", measured, met)


class TrainLoop(BenchmarkSpec):
    """Steady state: each run starts once and pauses during the laps of the others; starts are a separate case.

    The bare loop has the same model, loss, augmentation, optimizer, batches and threads, but no input, metrics or
    checkpoints. Its CPU time is that of its workers; ours is that of all processes, Ray's included.
    """

    name: Literal["train"] = "train"
    objective: AnyObjective = Field(Triplet(), description="what is trained")
    size: int = Field(64, ge=32, description="pixels")
    batch: int = Field(32, ge=8, description="images per step on each worker")
    steps: int = Field(8, ge=1, description="steps per lap")
    workers: tuple[int, ...] = Field((1, 2), min_length=1, description="numbers of workers, one case each")
    threads: int = Field(1, ge=1, description="compute threads of each worker")

    def cases(self, work: Path) -> Iterator[Case]:
        """For each number of workers, the steady state and then the starts."""
        for workers in self.workers:
            rows = (self.rounds + 2) * self.steps * self.batch * workers
            write_shards(work / f"shards-{workers}", rows, self.size * 9 // 8, self.seed)
            spec = self._spec(work, workers)
            runs = self._runs(work / f"gates-{workers}", spec, workers)
            contenders: list[Contender | Missing] = [Contender(n, run.lap, run.close) for n, run in runs.items()]
            if "herbray" not in runs:
                contenders.insert(0, Missing("herbray", "Ray is not installed; pip install herbray"))
            yield Case(self._case(workers), "images", contenders)
            starts = [Contender(n, functools.partial(_startup_of, run)) for n, run in runs.items()]
            yield Case(f"start, {_workers(workers)} (measured once)", "starts", starts, measures="seconds")

    def targets(self) -> Sequence[Promise]:
        """Nearly as fast as the bare loop; two workers are nearly twice as fast as one."""
        kept: list[Promise] = [Target(self._case(n), "herbray", _BARE, "rate", 0.95) for n in self.workers]
        if {1, 2} <= set(self.workers):
            kept.append(Scaling(self._case(1), self._case(2), "herbray", 1.8))
        return kept

    def _case(self, workers: int) -> str:
        return f"{self.objective.name}, {_workers(workers)}, {self.batch} images of {self.size} px a step and worker"

    def _spec(self, work: Path, workers: int) -> Train:
        tree = {
            "shards": work / f"shards-{workers}",
            "out": work / f"run-{workers}",
            "store": work / f"run-{workers}",
            "objective": self.objective.model_dump(),
            "encoder": {"size": self.size},
            "stream": {"batch": self.batch, "window": 8, "align": workers},
            "epochs": 1,
            "workers": workers,
            "cpus_per_worker": self.threads,
            "max_failures": 0,
            "seed": self.seed,
        }
        return parse(Train, tree)

    def _runs(self, gates: Path, spec: Train, workers: int) -> dict[str, GatedRun]:
        runs: dict[str, GatedRun] = {}
        images = self.steps * self.batch * workers
        if importlib.util.find_spec("ray"):
            around = functools.partial(_gated, gates / "ray", self.steps)
            fit = functools.partial(job.fit_prepared, prepare_training(spec), (), around)
            runs["herbray"] = GatedRun(gates / "ray", lambda: _ignore(fit()), workers, images, whole=True)
        if workers == 1:
            runs[_WITHOUT_RAY] = self._spawned(gates / "alone", _without_ray, spec, 1, images)
        runs[_BARE] = self._spawned(gates / "bare", _bare_loop, spec, workers, images)
        return runs

    def _spawned(self, gates: Path, target: Any, spec: Train, workers: int, images: int) -> GatedRun:  # noqa: ANN401
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = (gates, spec, self.steps, self.threads, workers, port)

        def start() -> None:
            spawn(target, settings, nprocs=workers)  # type: ignore[no-untyped-call]

        return GatedRun(gates, start, workers, images, whole=False)


def _workers(count: int) -> str:
    return "one worker" if count == 1 else f"{count} workers"


def _ignore(_: object) -> None:
    """Discard the result of a run."""


def _startup_of(run: GatedRun) -> Measured:
    if run.startup is None:
        raise ValueError("the run was never started, so its start was not measured")
    return run.startup


def _gated(folder: Path, steps: int, rank: int, batches: Iterable[Any]) -> Iterator[Any]:
    """The batches of a worker on Ray, passed through a gate."""
    return Gate(folder, rank, steps).through(batches)


def _device(rank: int) -> torch.device:
    return torch.device("cuda", rank) if torch.cuda.device_count() > rank else torch.device("cpu")


def _without_ray(rank: int, folder: Path, spec: Train, steps: int, count: int, workers: int, port: int) -> None:
    """Herbray's training loop in a separate process without Ray; reads and decodes the shards."""
    set_threads(count)
    gate = Gate(folder, rank, steps)

    def report(figures: Mapping[str, float]) -> None:
        append_metrics(folder / "metrics.jsonl", figures)

    def feed(windows: Sequence[Any], reader: WindowReader) -> Iterator[Any]:
        return gate.through(threaded_batches(windows, reader, threads=None if torch.cuda.is_available() else 1))

    loop.train_loop(spec, read_training_data(spec), None, World(device=_device(rank)), feed, None, report)


@flush_denormals()
def _bare_loop(rank: int, folder: Path, spec: Train, steps: int, count: int, workers: int, port: int) -> None:
    """What an engineer writes without a framework: a loop over tensors in the device's memory."""
    set_threads(count)
    device = _device(rank)
    data = read_training_data(spec)
    model: torch.nn.Module = loop.build_learner(spec, len(data.classes), None)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.optimizer.lr, fused=True)
    if workers > 1:
        where = f"tcp://127.0.0.1:{port}"
        kind = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(kind, init_method=where, rank=rank, world_size=workers)
        model = wrap_ddp(model)
    reader = WindowReader(spec.shards, data.manifest["side"])
    decoded = list(itertools.islice(sequential_batches(windows_of_rank(data.windows, rank, workers), reader), 16))
    batches = [(torch.from_numpy(b.images).to(device), torch.from_numpy(b.labels).to(device), b.seed) for b in decoded]
    total = len(data.windows) // workers * data.windows[0].batches
    for images, labels, seed in Gate(folder, rank, steps).through(itertools.islice(itertools.cycle(batches), total)):
        views = augment(images, seed, spec.encoder.size, spec.augment, spec.objective.views)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            inputs = views.contiguous(memory_format=torch.channels_last)
            loss = model(inputs, labels.repeat_interleave(spec.objective.views))["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if workers > 1:
        dist.destroy_process_group()
