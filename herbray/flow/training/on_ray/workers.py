"""Ray Train around the training loop: any number of DDP workers, which may join and leave."""

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch

from herbray import interruption, storage
from herbray.data.planning.window import Window
from herbray.flow.cluster.placement import Node, count_gpus, max_cpus_each, suitable_count
from herbray.flow.input.loader import load_batches
from herbray.flow.input.window_reader import Batch, WindowReader
from herbray.flow.training.preparation import PreparedTraining
from herbray.flow.training.runs.folder import METRICS
from herbray.flow.training.specification import Elastic, Train
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.worker import loop
from herbray.flow.training.world import World
from herbray.storage.cache import log_use

if TYPE_CHECKING:  # Ray is imported where it is used: `workers=0` trains on machines without it
    from pathlib import Path

    from ray.train import ScalingConfig, UserCallback
    from ray.train.torch import TorchTrainer

BatchWrapper = Callable[[int, Iterable[Batch]], Iterable[Batch]]
"""(rank, batches) → the same batches: a benchmark pauses them between laps, a drill kills a worker between two."""

_START_S: Final = 60.0
"""Seconds that Ray waits for free resources before it tries again."""


@contextmanager
def choose_workers(spec: Train, windows: int) -> Iterator[Train]:
    """Yield the job with its number of workers. If the job sets none, choose the number that suits the cluster.

    The default is not a constant, because two workers that share the cores of one machine are slower than one worker
    with two threads (docs/log.md). The number is not part of the run's name, so a run can resume on a changed cluster.
    While the body runs, this process is connected to the cluster.

    Args:
        spec: of the job.
        windows: of an epoch; there are at most so many workers.
    """
    from herbray.flow.cluster import connection
    from herbray.flow.cluster.gpus import find_nodes

    if spec.workers is not None:
        yield spec
        return
    with connection.connect():
        nodes = find_nodes(spec.device, 1, spec.patience_s)
        number = min(suitable_count(nodes), windows)
        count, cpus, gpus = len(nodes), sum(node.cpus for node in nodes), count_gpus(nodes)
        there = f"nodes: {count}, CPUs: {cpus:g}, GPUs: {gpus:g}"
        connection.console.print(
            f"workers={number}, chosen for this cluster ({there})", highlight=False, soft_wrap=True
        )
        yield spec.model_copy(update={"workers": number})


def train_on_ray(
    job: PreparedTraining,
    weights: "Path | None",
    callbacks: "Sequence[UserCallback]" = (),
    wrap: BatchWrapper | None = None,
) -> None:
    """Run `train_loop` on the workers of a cluster until the run has ended.

    Args:
        job: prepared, with its number of workers; its checkpoints lie on storage that all workers see.
        weights: folder with the start weights, if `encoder.init` names some.
        callbacks: called once for each report.
        wrap: stands between each worker's batches and its steps.

    Raises:
        ValueError: the cluster is too small or has no GPUs, or bad input.
        NoGpus: the GPUs did not come within `patience_s`.
        FloatingPointError: the loss is no longer finite.
        MemoryError: the model and its batch do not fit.
        OSError: no room for checkpoints.
        KeyboardInterrupt: the job was asked to stop; its newest checkpoint is the last window.
        failures.RepeatedFailure: the workers died more than `max_failures` times in a row.
        ray.train.TrainingFailedError: the workers failed repeatedly; the original error is attached.
    """
    from ray.train import TrainingFailedError

    from herbray.flow.cluster import connection
    from herbray.flow.cluster.gpus import find_nodes
    from herbray.flow.cluster.stop_request import StopRequest
    from herbray.flow.training.on_ray.failures import explain
    from herbray.flow.training.progress import show_progress

    spec, checkpoints = job.spec, job.checkpoints
    storage.make_folder(checkpoints.root)  # before the workers check that they see it
    with connection.connect():
        nodes = find_nodes(spec.device, spec.fewest_workers, spec.patience_s)
        total, each = divide_cpus(spec, nodes)
        stop = StopRequest()
        settings = {
            "spec": _absolute(spec),
            "weights": weights,
            "checkpoints": checkpoints,
            "cpus": total,
            "wrap": wrap,
            "reader_cpus": reader_cpus(spec, each),
            "ahead": windows_ahead(spec, nodes, total, each),
            "stop": stop,
        }
        trainer = _make_trainer(job, settings, count_gpus(nodes) >= spec.fewest_workers, callbacks)
        notice = "stopping when the workers end this window of images, with a checkpoint"
        with (
            show_progress([spec]),
            stop.until_end(),
            interruption.stop_softly(notice, stop.send),
            _plain_errors(TrainingFailedError, lambda error: explain(error, spec)),
        ):
            trainer.fit()


def _make_trainer(
    job: PreparedTraining, settings: dict[str, Any], on_gpus: bool, callbacks: "Sequence[UserCallback]"
) -> "TorchTrainer":
    from ray.train import FailureConfig, RunConfig
    from ray.train.torch import TorchTrainer

    from herbray.flow.cluster.loopback_group import process_group_config
    from herbray.flow.cluster.ray_storage import ray_storage
    from herbray.flow.training.on_ray.callbacks import MetricsCallback
    from herbray.flow.training.on_ray.failures import FailurePolicy

    spec, metrics = job.spec, job.spec.out.absolute() / METRICS
    trainer = TorchTrainer(
        _worker,
        train_loop_config=settings,
        torch_config=process_group_config(timeout_s=300),
        scaling_config=_scaling(spec, settings["cpus"], on_gpus),
        run_config=RunConfig(
            name=job.name,
            **ray_storage(spec.out.absolute() / "ray"),
            failure_config=FailureConfig(  # type: ignore[call-arg]  # its types are those of Train V1
                max_failures=-1,  # the failure policy counts
                # Counted over the whole run: callbacks learn neither of these failures nor of the end of the wait.
                controller_failure_limit=math.ceil(spec.patience_s / _START_S),
            ),
            callbacks=[FailurePolicy(spec.max_failures), MetricsCallback(metrics, callbacks)],  # type: ignore[list-item]  # Train V2 wants these and says the old kind
        ),
    )
    # Ray's handler of SIGINT would abort the workers without a checkpoint and exit with code 0; ours stays in place.
    trainer._register_sigint_handler = lambda controller: None  # type: ignore[attr-defined]
    return trainer


def _scaling(spec: Train, cpus: float, on_gpus: bool) -> "ScalingConfig":
    from ray.train import ScalingConfig

    if not isinstance(spec.workers, Elastic):
        return ScalingConfig(num_workers=spec.most_workers, use_gpu=on_gpus, resources_per_worker={"CPU": cpus})
    return ScalingConfig(
        num_workers=(spec.workers.min, spec.workers.max),  # type: ignore[arg-type]  # its types are those of Train V1
        use_gpu=on_gpus,
        resources_per_worker={"CPU": cpus},
        elastic_resize_monitor_interval_s=spec.workers.look_s,  # type: ignore[call-arg]
    )


@contextmanager
def _plain_errors(kind: type[Exception], explain: Callable[[BaseException], BaseException]) -> Any:  # noqa: ANN401
    try:
        yield
    except kind as error:
        if (plain := explain(error)) is error:
            raise
        raise plain from None


def divide_cpus(spec: Train, nodes: Sequence[Node]) -> tuple[float, float]:
    """CPUs that a worker reserves, and CPUs of a task that reads for it (see `reader_cpus`).

    Raises:
        ValueError: the cluster is too small for so many workers.
    """
    have, most, fewest = sum(node.cpus for node in nodes), spec.most_workers, spec.fewest_workers
    on_gpus = count_gpus(nodes) >= fewest
    busy = max(0.25, min(1.0, have / (2 * most + 2)))
    each = busy if spec.loader.decode == "tasks" else 0.25  # a task that only reads mostly waits
    rest = have / most - each
    if rest > 1:  # next to a GPU one is enough; else a whole number, since each is a computing thread
        rest = 1.0 if on_gpus else float(math.floor(rest))
    total = spec.cpus_per_worker or max(0.25, min(rest, max_cpus_each(nodes, fewest, int(on_gpus))))
    if total * fewest + reader_cpus(spec, each) > have:
        raise ValueError(
            f"{fewest} workers of {total:g} CPUs and the tasks that read for them need more than the cluster's "
            f"{have:g} CPUs: lower workers or cpus_per_worker"
        )
    return total, each


def reader_cpus(spec: Train, each: float) -> float:
    """CPUs that a task which reads for workers reserves.

    A task that only reads reserves none: after the loss of nodes, workers may take every CPU that is left.
    """
    return each if spec.loader.decode == "tasks" else 0.0


def windows_ahead(spec: Train, nodes: Sequence[Node], worker: float, each: float) -> int:
    """Windows that tasks read ahead for each worker.

    Tasks that decode are as many as the CPUs that `worker` CPUs of each worker leave free can run.
    """
    free = sum(node.cpus for node in nodes) - worker * spec.most_workers
    busy = int(free / each / spec.most_workers) if spec.loader.decode == "tasks" else 0
    return max(spec.loader.windows, busy)


def _worker(settings: dict[str, Any]) -> None:
    """Runs on every rank."""
    import ray.train.torch
    from ray.train import CheckpointUploadMode

    context = ray.train.get_context()
    spec: Train = settings["spec"]
    _check_seen(settings["checkpoints"].root)
    among = context.get_local_world_size()
    cores = (os.cpu_count() or 1) // max(1, among)  # a cluster may claim more CPUs than there are
    torch.set_num_threads(max(1, min(cores, int(settings["cpus"]))))
    world = World(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device(), among)

    def report(figures: Mapping[str, float]) -> None:
        """Report without waiting for the controller."""
        ray.train.report(dict(figures), checkpoint_upload_mode=CheckpointUploadMode.ASYNC)

    def leaving() -> bool:
        return ray.train.get_preemption_info() is not None

    data = read_training_data(spec)
    fingerprint = data.manifest["fingerprint"]
    place, cpus = context.get_local_rank(), settings["reader_cpus"]

    def given(windows: Sequence[Window], reader: WindowReader) -> Iterable[Batch]:
        batches: Iterable[Batch] = load_batches(
            windows, reader, spec.loader, fingerprint, cpus, settings["ahead"], among, place
        )
        return settings["wrap"](world.rank, batches) if settings["wrap"] else batches

    stopping, begun = settings["stop"].is_sent, time.time()
    loop.train_loop(spec, data, settings["weights"], world, given, settings["checkpoints"], report, leaving, stopping)
    if place == 0:
        log_use(spec.shards, begun)


def _check_seen(root: "Path") -> None:
    """Refuse a node that does not see the run's checkpoints: its worker would start over."""
    if not storage.is_remote(root) and not root.is_dir():
        raise ValueError(
            f"{root}: not visible on node {socket.gethostname()}: put `out` on storage that every node mounts "
            "at this path"
        )


def _absolute(spec: Train) -> Train:
    """Workers have another working directory."""
    loader = spec.loader.model_copy(update={"cache": spec.loader.cache and spec.loader.cache.absolute()})
    objective = spec.objective.with_absolute_paths()
    paths = {"shards": spec.shards.absolute(), "out": spec.out.absolute()}
    return spec.model_copy(update={**paths, "loader": loader, "objective": objective})
