"""The training job: one MLflow run, one registered version, whatever happened on the way."""

import functools
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from herbray import tracking
from herbray.data.validation import Validation
from herbray.flow.input.loader import feed
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.training import worker
from herbray.flow.training.checkpoints.directory import Kept, Store, copy_folder, score, store_of
from herbray.flow.training.metrics_log import Curve, read_metrics
from herbray.flow.training.model_card import model_card
from herbray.flow.training.on_ray.workers import Around, manned, train_on_ray
from herbray.flow.training.registration import begin, conclude, ended, read_trained, reported
from herbray.flow.training.runs.continuation import changes, continued, listed, say
from herbray.flow.training.runs.folder import METRICS, TRAINED, claim, runs
from herbray.flow.training.runs.identity import run_name, settings, shown
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.world import World
from herbray.model.checkpoint import read_encoder, write_card

if TYPE_CHECKING:  # Ray is imported where it is used: `workers=0` trains on machines without it
    from ray.train import UserCallback

_log = logging.getLogger(__name__)


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
    data = read_training_data(spec)  # bad input is told before anything starts
    spec = continued(exact(steady(spec), spec.store))
    tags = {"objective": spec.objective.name, "init": shown(spec)["encoder"]["init"]}
    tags |= {"shards": data.manifest["fingerprint"]}
    name = run_name(spec)
    over = _ended(spec, store_of(spec, name))
    before = runs(spec.out).settings.get(name) if over else None
    former = _version(spec.out, name)
    with nullcontext(spec) if over else manned(spec, data.per_epoch) as job:
        run = begin(job, name, tags)
        with reported(run, spec.out):
            fitted = fit(job)
            ended(spec.out, model_card(spec, data, fitted.figures), fitted.figures)
        done = conclude(run, spec.out)
    trained = Trained(fitted, done.model, done.version, done.run_id)
    if before and (corrected := changes(spec, before, "name", "choice", "progress")):
        stays = f"; {former} stays" if former not in ("", trained.uri) else ""
        say(f"{spec.out}: this training has ended and is not repeated for {listed(corrected)}: {trained.uri}{stays}")
    return trained


def _version(out: Path, name: str) -> str:
    """The registered version that a run folder shows, if the run has the folder."""
    return str(read_trained(out)["uri"]) if runs(out).now == name and (out / TRAINED).exists() else ""


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
    _warn_unscored(spec, read_training_data(spec).validation)
    spec = continued(exact(spec, spec.store))
    return fit_on_ray(spec, _start_weights(spec), callbacks) if spec.workers != 0 else _fit_here(spec)


def fit_on_ray(
    spec: Train, weights: Path | None, callbacks: "Sequence[UserCallback]" = (), around: Around | None = None
) -> Fitted:
    """`fit` on the workers of a cluster; `around` may stand between each worker's stream and its steps."""
    name, store = _claimed(spec)
    if not _ended(spec, store):
        with manned(spec, read_training_data(spec).per_epoch) as job:
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
        worker.learn(spec, _start_weights(spec), World(device=device), give, store, report)
        curve.flush()
    return _fitted(spec, store)


def _warn_unscored(spec: Train, validation: Validation | None) -> None:
    if validation is not None and validation.obstacle:
        kept = "of the lowest val_loss" if spec.keep == "best" else "last"
        _log.warning(
            "%s: val_knn is left out, and keep=%s keeps the checkpoint %s: %s",
            spec.shards,
            spec.keep,
            kept,
            validation.obstacle,
        )


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
    claim(spec.out, name, settings(spec))
    return name, store_of(spec, name)


def _ended(spec: Train, store: Store) -> bool:
    newest = store.newest()
    return newest is not None and newest.consumed == len(read_training_data(spec).windows)


def _fitted(spec: Train, store: Store) -> Fitted:
    kept = store.best() if _ended(spec, store) else None
    if kept is None:
        raise RuntimeError(
            f"{store.root}: training ended, and its last checkpoint is not there or not whole: is this folder on "
            "storage that every node sees? The same command goes on from the newest one that is whole"
        )
    _check_choice(spec, kept)
    copy_folder(kept.folder / "encoder", spec.out / "encoder", lambda copy: _renew_card(copy, spec))
    return Fitted(kept.figures, spec.out / "encoder", kept.folder)


def _check_choice(spec: Train, kept: Kept) -> None:
    """Warn where the best checkpoint is not there: it was not kept while `keep` had another value, or is damaged."""
    measure = "val_knn" if "val_knn" in kept.figures else "val_loss"
    scored = [row for row in read_metrics(spec.out / METRICS) if measure in row]
    best = max(scored, key=score, default=None)
    if spec.keep == "best" and best is not None and score(best) > score(kept.figures):
        had, left = (f"epoch {each['epoch']:g} ({measure} {each[measure]:.4g})" for each in (best, kept.figures))
        _log.warning("%s: keep=best, but the checkpoint of %s is not left: %s is kept", spec.out, had, left)


def _renew_card(folder: Path, spec: Train) -> None:
    """Bring an encoder's card to the settings of now: some may change when the weights have been learned."""
    found = read_encoder(folder)[1]
    now = worker.card(spec, read_training_data(spec), found.start)
    renewed = found.model_copy(update={name: getattr(now, name) for name in now.model_fields_set - {"herbray"}})
    if renewed != found:
        write_card(folder, renewed)
