"""The training job: one MLflow run, one registered version, whatever happened on the way."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from herbray import tracking
from herbray.data import plan
from herbray.flow import learn
from herbray.flow.card import model_card
from herbray.flow.feed import feed
from herbray.flow.fingerprints import weights_print
from herbray.flow.manifest import read_manifest
from herbray.flow.material import Train, World, material
from herbray.flow.register import begin, claim, conclude, ended, reported
from herbray.flow.reports import Curve
from herbray.flow.store import Store
from herbray.flow.workers import Around, manned, train_on_ray
from herbray.model.portable import WEIGHTS

if TYPE_CHECKING:  # Ray is imported where it is used: `workers=0` trains on machines without it
    from ray.train import UserCallback

_INCIDENTAL = {"out", "store", "shards", "workers", "cpus_per_worker", "checkpoints", "max_failures", "patience_s"}
"""Settings, beside `compile` and `loader`, that do not bear on what is learned."""


@dataclass(frozen=True)
class Fitted:
    """What a training run leaves: its figures, its encoder (folder with safetensors and JSON), its checkpoint."""

    figures: dict[str, float]
    encoder: Path
    checkpoint: Path


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
    spec = exact(steady(spec), spec.store)
    tags = {"objective": spec.objective.name, "init": spec.encoder.init, "shards": data.manifest["fingerprint"]}
    name = run_name(spec)
    with nullcontext(spec) if _ended(spec, _store(spec, name)) else manned(spec, data.per_epoch) as job:
        run = begin(job, name, tags)
        with reported(run, spec.out):
            fitted = fit(job)
            ended(spec.out, model_card(spec, data, fitted.figures), fitted.figures)
        done = conclude(run, spec.out)
    return Trained(fitted, done.model, done.version, done.run_id)


def run_name(spec: Train) -> str:
    """Name of a run: the same specification on the same shards is the same run, and goes on where it stopped.

    Start weights in a folder are named by what they are: after a new training there, it is another run. So it is
    after an alias of the registry has moved: see `exact`, which comes first.
    """
    settings = spec.model_dump(mode="json", exclude={*_INCIDENTAL, "compile", "loader"})
    if spec.label is None:
        del settings["label"]  # runs of before there were labels go on
    parts = [settings, read_manifest(spec.shards)["fingerprint"]]
    start = Path(spec.encoder.init)
    if (start / WEIGHTS).is_file():  # a folder without is told of where it is read
        parts.append(weights_print(start))
    return f"{spec.objective.name}-{plan.fingerprint(*parts)}"


def exact(spec: Train, store: Path) -> Train:
    """The job with its start weights by version: what an alias of the registry names now, not what it will name.

    Args:
        spec: of the job.
        store: whose registry it is, unless `MLFLOW_TRACKING_URI` is set.

    Raises:
        ValueError: no such model, version or alias, or no registry.
    """
    if not spec.encoder.init.startswith("models:/"):
        return spec
    init = tracking.pinned(tracking.tracking_uri(store), spec.encoder.init)
    return spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"init": init})})


def steady(spec: Train) -> Train:
    """The job itself, whose start weights it does not move by registering its own; a sweep registers nothing.

    Raises:
        ValueError: it would.
    """
    if spec.encoder.init in (f"models:/{spec.registers}@candidate", f"models:/{spec.registers}/latest"):
        raise ValueError(
            f"encoder.init={spec.encoder.init}: training registers a version of {spec.registers}, so that the same "
            f"command would begin anew from its own result: name a version, models:/{spec.registers}/N"
        )
    return spec


def fit(spec: Train, callbacks: "Sequence[UserCallback]" = ()) -> Fitted:
    """Train an encoder; a training job and a trial of a sweep both call this.

    Goes on from the run's newest whole checkpoint in `out/checkpoints`; a run that has ended is not run again.

    Args:
        spec: of the job; `workers=0` trains in this process.
        callbacks: told every report once.

    Raises:
        ValueError: bad input.
        FloatingPointError: the loss is no longer finite.
        MemoryError: the model and its batch do not fit.
        OSError: no room for checkpoints.
        faults.Repeated: the workers died more than `max_failures` times in a row.
        ray.train.TrainingFailedError: they failed so often in words of their own.
    """
    material(spec)
    spec = exact(spec, spec.store)
    return fit_on_ray(spec, _start_weights(spec), callbacks) if spec.workers != 0 else _fit_here(spec)


def fit_on_ray(
    spec: Train, weights: Path | None, callbacks: "Sequence[UserCallback]" = (), around: Around | None = None
) -> Fitted:
    """`fit` on the workers of a cluster; `around` may stand between each worker's stream and its steps."""
    name, store = _claimed(spec)
    if not _ended(spec, store):
        with manned(spec, material(spec).per_epoch) as job:
            train_on_ray(job, weights, store, name, callbacks, around)
    return _fitted(spec, store)


def _fit_here(spec: Train) -> Fitted:
    _, store = _claimed(spec)
    if not _ended(spec, store):
        curve = Curve(spec.out / "metrics.jsonl")

        def report(figures: Mapping[str, float]) -> None:
            curve.add(figures)

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        give = functools.partial(feed, loader=spec.loader, fingerprint=read_manifest(spec.shards)["fingerprint"])
        learn.learn(spec, _start_weights(spec), World(device=device), give, store, report)
        curve.flush()
    return _fitted(spec, store)


def _start_weights(spec: Train) -> Path | None:
    """An encoder to start from, put where every worker can read it."""
    init = spec.encoder.init
    if init.startswith("models:/"):
        return tracking.pull(init, tracking.tracking_uri(spec.store), cache=spec.out.absolute() / "init")
    return None if init in ("random", "imagenet") else Path(init).absolute()


def _claimed(spec: Train) -> tuple[str, Store]:
    """The run's name and checkpoints; figures that another run left in `out` make room."""
    name = run_name(spec)
    spec.out.mkdir(parents=True, exist_ok=True)
    claim(spec.out, name)
    return name, _store(spec, name)


def _store(spec: Train, name: str) -> Store:
    return Store(spec.out.absolute() / "checkpoints" / name, spec.checkpoints, spec.keep)


def _ended(spec: Train, store: Store) -> bool:
    newest = store.newest()
    return newest is not None and newest.consumed == len(material(spec).windows)


def _fitted(spec: Train, store: Store) -> Fitted:
    kept = store.best() if _ended(spec, store) else None
    if kept is None:
        raise RuntimeError(
            f"{store.root}: training ended, and its last checkpoint is not there or not whole: is this folder on "
            "storage that every node sees? The same command goes on from the newest one that is whole"
        )
    _replace_folder(kept.folder / "encoder", spec.out / "encoder")
    return Fitted(kept.figures, spec.out / "encoder", kept.folder)


def _replace_folder(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
