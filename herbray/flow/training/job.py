"""The training job: one MLflow run, one registered version, whatever happened on the way."""

import functools
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from herbray import interruption, storage
from herbray.data.planning.validation import ValidationSample
from herbray.flow.input.loader import load_batches
from herbray.flow.input.to_device import choose_device
from herbray.flow.training.checkpoints.directory import Checkpoint, copy_folder
from herbray.flow.training.checkpoints.selection import rank_checkpoints
from herbray.flow.training.metrics_log import MetricsLog, read_metrics
from herbray.flow.training.model_card import model_card
from herbray.flow.training.on_ray.workers import BatchWrapper, choose_workers, train_on_ray
from herbray.flow.training.preparation import PreparedTraining, find_start_weights, prepare_training, refuse_own_start
from herbray.flow.training.progress import show_progress
from herbray.flow.training.registration import deliver_metrics, note_end, open_run, read_trained, register_and_close
from herbray.flow.training.runs.continuation import join_changes, list_changes, print_line
from herbray.flow.training.runs.folder import METRICS, TRAINED, claim, read_runs
from herbray.flow.training.runs.identity import public_settings, run_settings
from herbray.flow.training.specification import Train
from herbray.flow.training.worker import loop
from herbray.flow.training.world import World
from herbray.model.encoder_card import read_encoder, write_card

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
    """The training job: open an MLflow run, train, register the encoder as a candidate.

    A thread of the driver sends the metrics to the tracking server: training does not wait for the server.

    Raises:
        ValueError: bad input.
        tracking.StoreUnreachable: the tracking server was unreachable when the encoder was to be registered; `herbray
            register` registers it later.
    """
    job = prepare_training(refuse_own_start(spec))
    over = job.has_ended()
    before = read_runs(job.spec.out).settings.get(job.name) if over else None
    former = _registered_uri(job.spec.out, job.name)
    with nullcontext(job.spec) if over else choose_workers(job.spec, job.data.per_epoch) as staffed:
        job = replace(job, spec=staffed)
        run = open_run(staffed, job.name, _tags(job))
        with deliver_metrics(run, staffed.out):
            fitted = fit_prepared(job)
            note_end(staffed.out, model_card(staffed, job.data, fitted.figures), fitted.figures)
        done = register_and_close(run, staffed.out)
    trained = Trained(fitted, done.model, done.version, done.run_id)
    if before and (corrected := list_changes(job.spec, before, "name", "choice", "progress")):
        stays = f"; {former} stays" if former not in ("", trained.uri) else ""
        changed = join_changes(corrected)
        print_line(f"{job.spec.out}: this training has ended; it is not repeated for {changed}: {trained.uri}{stays}")
    return trained


def _tags(job: PreparedTraining) -> dict[str, str]:
    init = public_settings(job.spec)["encoder"]["init"]
    return {"objective": job.spec.objective.name, "init": init, "shards": job.data.manifest["fingerprint"]}


def _registered_uri(out: Path, name: str) -> str:
    """The registered version that a run folder shows, if the folder belongs to the run; a damaged note is renewed."""
    if read_runs(out).now != name or not storage.is_file(out / TRAINED):
        return ""
    try:
        return str(read_trained(out)["uri"])
    except storage.DamagedFile:
        return ""


def fit(spec: Train, callbacks: "Sequence[UserCallback]" = ()) -> Fitted:
    """Train an encoder without registering it, as a trial of a sweep does: see `fit_prepared`."""
    return fit_prepared(prepare_training(spec), callbacks)


def fit_prepared(
    job: PreparedTraining, callbacks: "Sequence[UserCallback]" = (), wrap: BatchWrapper | None = None
) -> Fitted:
    """Train an encoder, from the run's newest intact checkpoint if there is one; a run that has ended is not repeated.

    Args:
        job: prepared; `workers=0` trains in this process, without Ray.
        callbacks: called once for each report.
        wrap: stands between each worker's batches and its steps (Ray workers only).

    Raises:
        ValueError: bad input.
        FloatingPointError: the loss is no longer finite.
        MemoryError: the model and its batch do not fit.
        OSError: no room for checkpoints.
        KeyboardInterrupt: the job was asked to stop; its newest checkpoint is the last window.
        failures.RepeatedFailure: the workers died more than `max_failures` times in a row.
        ray.train.TrainingFailedError: the workers failed repeatedly; the original error is attached.
    """
    _warn_unscored(job.spec, job.data.validation)
    storage.make_folder(job.spec.out)
    claim(job.spec.out, job.name, run_settings(job.spec))
    if not job.has_ended():
        weights = find_start_weights(job.spec)
        if job.spec.workers == 0:
            with show_progress([job.spec]):
                _train_here(job, weights)
        else:
            with choose_workers(job.spec, job.data.per_epoch) as staffed:
                train_on_ray(replace(job, spec=staffed), weights, callbacks, wrap)
    return _keep_encoder(job)


def _train_here(job: PreparedTraining, weights: Path | None) -> None:
    log = MetricsLog(job.spec.out / METRICS)

    def report(figures: Mapping[str, float]) -> None:
        log.add(figures)

    world = World(device=choose_device(job.spec.device))
    notice = "stopping at the end of this window of images, with a checkpoint"
    give = functools.partial(load_batches, loader=job.spec.loader, fingerprint=job.data.manifest["fingerprint"])
    with interruption.stop_softly(notice) as stopping:
        loop.train_loop(job.spec, job.data, weights, world, give, job.checkpoints, report, stopping=stopping)
        log.flush()


def _warn_unscored(spec: Train, validation: ValidationSample | None) -> None:
    if validation is not None and validation.obstacle:
        kept = "of the lowest val_loss" if spec.keep == "best" else "last"
        _log.warning(
            "%s: val_knn is left out, and keep=%s keeps the checkpoint %s: %s",
            spec.shards,
            spec.keep,
            kept,
            validation.obstacle,
        )


def _keep_encoder(job: PreparedTraining) -> Fitted:
    """Copy the encoder of the chosen checkpoint to where the run folder shows it."""
    spec = job.spec
    kept = job.checkpoints.best() if job.has_ended() else None
    if kept is None:
        raise RuntimeError(
            f"{job.checkpoints.root}: training ended, but its last checkpoint is missing or damaged. Check that this "
            "folder is on storage that every node sees; the same command resumes from the newest intact checkpoint"
        )
    _check_choice(spec, kept)
    copy_folder(kept.folder / "encoder", spec.out / "encoder", lambda copy: _renew_card(copy, job))
    return Fitted(kept.figures, spec.out / "encoder", kept.folder)


def _check_choice(spec: Train, kept: Checkpoint) -> None:
    """Warn if the chosen checkpoint is missing: it was pruned while `keep` had another value, or it is damaged."""
    measure = "val_knn" if "val_knn" in kept.figures else "val_loss"
    scored = [row for row in read_metrics(spec.out / METRICS) if measure in row]
    if spec.keep == "last" or not scored:
        return
    chosen = scored[rank_checkpoints(scored, spec.keep)[-1]]
    if chosen["epoch"] != kept.figures["epoch"]:
        had, left = (f"epoch {each['epoch']:g} ({measure} {each[measure]:.4g})" for each in (chosen, kept.figures))
        _log.warning("%s: keep=best, but the checkpoint of %s is gone: that of %s is kept", spec.out, had, left)


def _renew_card(folder: Path, job: PreparedTraining) -> None:
    """Bring an encoder's card to the present settings: some may change after the weights have been learned."""
    found = read_encoder(folder)[1]
    now = loop.encoder_card(job.spec, job.data, found.start)
    renewed = found.model_copy(update={name: getattr(now, name) for name in now.model_fields_set - {"herbray"}})
    if renewed != found:
        write_card(folder, renewed)
