"""Ray Train around the worker's loop: DDP on any number of workers, one MLflow run, one registered version."""

import functools
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from herbray import tracking
from herbray.data import plan
from herbray.flow import learn
from herbray.flow.card import model_card
from herbray.flow.feed import feed
from herbray.flow.manifest import read_manifest
from herbray.flow.material import Train, World, material
from herbray.flow.register import begin, conclude, ended, reported
from herbray.flow.reports import append
from herbray.flow.window import Batch, WindowReader

if TYPE_CHECKING:  # Ray is imported where it is used: `workers=0` trains on machines without it
    from ray.train import UserCallback


Around = Callable[[int, Iterable[Batch]], Iterable[Batch]]
"""(rank, batches) → the same batches: a benchmark holds them back between its laps."""


@dataclass(frozen=True)
class Fitted:
    """What a training run leaves: its figures, its encoder (folder with safetensors and JSON), its checkpoint."""

    figures: dict[str, float]
    encoder: Path
    checkpoint: Path | None


@dataclass(frozen=True)
class Trained:
    """A fitted encoder with its place in the registry."""

    fitted: Fitted
    model: str
    version: int
    run_id: str

    @property
    def uri(self) -> str:
        """For `herbray.load_encoder` and the embed job."""
        return f"models:/{self.model}/{self.version}"


def train(spec: Train) -> Trained:
    """The training job: open a run, fit, register the encoder as a candidate.

    Reports reach the tracking store from a thread of the driver: training does not wait for it.

    Raises:
        ValueError: bad input.
        tracking.StoreAway: the tracking store kept the encoder from being registered; `herbray register` repeats it.
    """
    data = material(spec)  # bad input is told before anything starts
    tags = {"objective": spec.objective.name, "init": spec.encoder.init, "shards": data.manifest["fingerprint"]}
    run = begin(spec, run_name(spec), tags)
    with reported(run, spec.out):
        fitted = fit(spec)
        ended(spec.out, model_card(spec, data, fitted.figures), fitted.figures)
    done = conclude(run, spec.out)
    return Trained(fitted, done.model, done.version, done.run_id)


def run_name(spec: Train) -> str:
    """Name of a run: the same specification on the same shards is the same run, and goes on where it stopped."""
    settings = spec.model_dump(
        mode="json",
        exclude={"out", "store", "shards", "workers", "cpus_per_worker", "max_failures", "compile", "loader"},
    )
    return f"{spec.objective.name}-{plan.fingerprint(settings, read_manifest(spec.shards)['fingerprint'])}"


def fit(spec: Train, callbacks: "Sequence[UserCallback]" = ()) -> Fitted:
    """Train an encoder; a training job and a trial of a sweep both call this.

    Args:
        spec: of the job; `workers=0` trains in this process.
        callbacks: told every report.

    Raises:
        ValueError: bad input.
        ray.train.TrainingFailedError: the workers failed more often than `max_failures`.
    """
    material(spec)
    weights = _start_weights(spec)
    return _fit_here(spec, weights) if spec.workers == 0 else fit_on_ray(spec, weights, callbacks)


def _start_weights(spec: Train) -> Path | None:
    """A registered encoder to start from, put where every worker can read it."""
    if not spec.encoder.init.startswith("models:/"):
        return None
    return tracking.pull(spec.encoder.init, tracking.tracking_uri(spec.store), cache=spec.out / "init")


def _fit_here(spec: Train, weights: Path | None) -> Fitted:
    history: list[dict[str, float]] = []
    best = spec.out / "encoder"

    def report(figures: Mapping[str, float], checkpoint: Path | None) -> None:
        history.append(dict(figures))
        append(spec.out / "metrics.jsonl", figures)
        scores = [row["val_knn"] for row in history if "val_knn" in row]
        if checkpoint and (spec.keep == "last" or not scores or scores[-1] >= max(scores)):
            _replace_folder(checkpoint / "encoder", best)
        if checkpoint:
            shutil.rmtree(checkpoint)

    (spec.out / "metrics.jsonl").unlink(missing_ok=True)
    spec.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    give = functools.partial(feed, loader=spec.loader, fingerprint=read_manifest(spec.shards)["fingerprint"])
    learn.learn(spec, weights, World(device=device), give, None, report)
    return Fitted(_chosen(history, spec.keep), best, None)


def fit_on_ray(
    spec: Train, weights: Path | None, callbacks: "Sequence[UserCallback]" = (), around: Around | None = None
) -> Fitted:
    """`fit` on the workers of a cluster; `around` may stand between each worker's stream and its steps."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from herbray.flow import cluster
    from herbray.flow.callbacks import FileCallback, watched

    spec.out.mkdir(parents=True, exist_ok=True)
    metrics = spec.out.absolute() / "metrics.jsonl"
    with cluster.connected():
        total, each = _share_of_cpus(spec)
        scored = spec.keep == "best" and bool(material(spec).validation)
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "spec": _absolute(spec),
                "weights": weights,
                "cpus": total,
                "feed_cpus": each,
                "around": around,
            },
            torch_config=TorchConfig(backend=None, timeout_s=300),
            scaling_config=ScalingConfig(
                num_workers=spec.workers,
                use_gpu=cluster.resource("GPU") >= (spec.workers or 1),
                resources_per_worker={"CPU": total},
            ),
            run_config=RunConfig(
                name=run_name(spec),
                storage_path=str(spec.out.absolute() / "ray"),
                failure_config=FailureConfig(max_failures=spec.max_failures),
                checkpoint_config=CheckpointConfig(
                    num_to_keep=2, checkpoint_score_attribute="val_knn" if scored else None
                ),
                callbacks=[FileCallback(metrics), *callbacks],  # type: ignore[list-item]  # Train V2 wants these and says the old kind
            ),
        )
        with watched(metrics, spec):
            result = trainer.fit()
    kept = [(checkpoint, figures) for checkpoint, figures in result.best_checkpoints or [] if checkpoint]
    if not kept:
        raise RuntimeError(f"{spec.out}: training ended without a checkpoint")
    figures = _chosen([figures for _, figures in kept], spec.keep)
    checkpoint = Path(next(c for c, f in kept if f == figures).path)
    _replace_folder(checkpoint / "encoder", spec.out / "encoder")
    return Fitted({k: float(v) for k, v in figures.items()}, spec.out / "encoder", checkpoint)


def _share_of_cpus(spec: Train) -> tuple[float, float]:
    """CPUs that a worker reserves and that a task feeding it reserves.

    Raises:
        ValueError: the cluster is too small for so many workers.
    """
    from herbray.flow import cluster

    have = cluster.resource("CPU")
    busy = max(0.25, min(1.0, have / (2 * spec.workers + 2)))
    each = busy if spec.loader.decode == "tasks" else 0.25  # who just reads, waits
    rest = have / spec.workers - each
    if rest > 1:  # beside a GPU one is enough; else whole ones, since each is a thread that computes
        rest = 1.0 if cluster.resource("GPU") >= spec.workers else float(math.floor(rest))
    total = spec.cpus_per_worker or max(0.25, rest)
    if total * spec.workers + each > have:
        raise ValueError(
            f"{spec.workers} workers of {total:g} CPUs and the tasks that feed them need more than the cluster's "
            f"{have:g} CPUs: lower workers or cpus_per_worker"
        )
    return total, each


def _worker(settings: dict[str, Any]) -> None:
    """Runs on every rank."""
    import ray.train.torch
    from ray.train import CheckpointUploadMode

    context = ray.train.get_context()
    spec: Train = settings["spec"]
    cores = (os.cpu_count() or 1) // max(1, context.get_local_world_size())  # a cluster may claim more than there are
    torch.set_num_threads(max(1, min(cores, int(settings["cpus"]))))
    world = World(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    started = ray.train.get_checkpoint()

    def report(figures: Mapping[str, float], folder: Path | None) -> None:
        """Hand over and go on: the copy to the store and the controller's next look do not hold up a step."""
        checkpoint = ray.train.Checkpoint.from_directory(str(folder)) if folder else None
        ray.train.report(dict(figures), checkpoint, checkpoint_upload_mode=CheckpointUploadMode.ASYNC)

    fingerprint = read_manifest(spec.shards)["fingerprint"]
    among, place, cpus = context.get_local_world_size(), context.get_local_rank(), settings["feed_cpus"]

    def given(windows: Sequence[plan.Window], reader: WindowReader) -> Iterable[Batch]:
        batches: Iterable[Batch] = feed(windows, reader, spec.loader, fingerprint, cpus, among, place)
        return settings["around"](world.rank, batches) if settings["around"] else batches

    with started.as_directory() if started else _nothing() as folder:
        learn.learn(spec, settings["weights"], world, given, Path(folder) if folder else None, report)


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _chosen(history: Sequence[Mapping[str, float]], keep: str) -> dict[str, float]:
    """The report of the checkpoint to keep: the best by k-NN, the later of equals; else the last."""

    def rank(row: Mapping[str, float]) -> tuple[float, float]:
        return (row.get("val_knn", 0.0) if keep == "best" else 0.0, row["images"])

    saved = [row for row in history if "val_knn" in row] or history
    return dict(sorted(saved, key=rank)[-1])


def _absolute(spec: Train) -> Train:
    loader = spec.loader.model_copy(update={"cache": spec.loader.cache and spec.loader.cache.absolute()})
    return spec.model_copy(update={"shards": spec.shards.absolute(), "out": spec.out.absolute(), "loader": loader})


def _replace_folder(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
