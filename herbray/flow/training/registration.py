"""A training in MLflow: its run while it trains, its registered version at the end.

Everything that registration needs is in the run folder before the tracking server is asked: `tracked.json`,
`metrics.jsonl`, the encoder and the model card. If the server is unreachable, `herbray register RUN` finishes the job
later, without training again.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from herbray import storage, tracking
from herbray.config import Spec
from herbray.flow.training.fingerprints import read_identity
from herbray.flow.training.metrics_log import TIME, read_metrics_with_times
from herbray.flow.training.runs.folder import METRICS, TRAINED, claim, describe_remedy
from herbray.flow.training.runs.identity import public_settings, run_settings
from herbray.flow.training.specification import Train
from herbray.model.encoder_card import read_encoder

NOTE: Final = "tracked.json"
"""File that names the MLflow run of a run folder, and the model that its version belongs to."""

CARD: Final = "card.md"
ENCODER: Final = "encoder"


class Register(Spec):
    """The job that registers a finished training whose tracking server was unreachable. Reads its run folder."""

    run: Path = Field(Path("runs/train/triplet"), description="run folder: the `out` of a training")
    store: Path | None = Field(
        None, description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set; None: the training's own"
    )

    @property
    def out(self) -> Path:
        """The folder that the job locks: no other may train there."""
        return self.run


@dataclass(frozen=True)
class Registered:
    """A registered version and its MLflow run."""

    model: str
    version: int
    run_id: str

    @property
    def uri(self) -> str:
        """For `herbray.load_encoder` and the embed job."""
        return f"models:/{self.model}/{self.version}"

    def __str__(self) -> str:
        """The last line that the command prints."""
        return f"{self.uri}, run {self.run_id}"


def register(spec: Register) -> Registered:
    """Send the metrics that wait, register the encoder as a candidate, close the MLflow run.

    The same encoder of the same run has one version, however often it is registered.

    Raises:
        ValueError: no finished training in the folder, or the training used another tracking server.
        tracking.StoreUnreachable: the tracking server does not answer.
    """
    note = _read_note(spec.run)
    store = spec.store or storage.path_of(note["store"])
    uri = tracking.registry_uri(tracking.tracking_uri(store))
    with tracking.wrap_store_errors(_hint(spec.run)):
        run = tracking.resume_run(uri, note["run_id"])
    with deliver_metrics(run, spec.run):
        pass
    return register_and_close(run, spec.run)


def open_run(spec: Train, name: str, tags: Mapping[str, str]) -> tracking.Run:
    """Open a training's MLflow run, or reopen it, and note it in the run folder.

    Args:
        spec: of the job.
        name: of the run; the same settings on the same shards have the same.
        tags: of the run and of the version.

    Raises:
        tracking.StoreUnreachable: the tracking server does not answer.
    """
    storage.make_folder(spec.out)
    params = public_settings(spec)
    if spec.workers is None:  # a training that has ended chooses no number of workers
        del params["workers"]
    with tracking.wrap_store_errors("training has not started; run the same command again"):
        run = tracking.open_run(tracking.tracking_uri(spec.store), spec.experiment, name, params, tags)
    claim(spec.out, name, run_settings(spec))
    note = {
        "name": name,
        "run_id": run.run_id,
        "experiment": spec.experiment,
        "store": storage.show(spec.store.absolute()),
    }
    note |= {"model": spec.model_name, "objective": spec.objective.name}
    storage.write_note(spec.out / NOTE, note | {"tags": dict(tags)})
    return run


def deliver_metrics(run: tracking.Run, out: Path) -> AbstractContextManager[None]:
    """Send a run folder's metrics to MLflow while the body runs, each step once, and the rest at its end."""
    history = tracking.History(run)
    return tracking.deliver_in_background(run, lambda: history.send(read_points(out / METRICS)), _hint(out))


def note_end(out: Path, card: str, figures: Mapping[str, float]) -> None:
    """Note that a training has ended, with everything that its registration needs.

    Args:
        out: the run folder.
        card: the model card.
        figures: of the encoder that is kept.
    """
    storage.write_text(out / CARD, card)
    note = storage.read_note(out / NOTE, describe_remedy(out))
    storage.write_note(out / NOTE, note | {"figures": dict(figures)})


def register_and_close(run: tracking.Run, out: Path) -> Registered:
    """Register a run folder's encoder as a candidate, close the run, and write `trained.json`.

    Raises:
        ValueError: the folder holds no finished training.
        tracking.StoreUnreachable: the tracking server does not answer, or refuses.
    """
    note = _read_note(out)
    card = storage.read_bytes(out / CARD).decode()
    storage.fetch_folder(out / ENCODER)
    identity = read_identity(out / ENCODER, read_encoder(out / ENCODER)[1])
    tags = note["tags"] | {"encoder": identity.encoder, "kind": identity.kind}  # the same as in results
    with tracking.wrap_store_errors(_hint(out), run):
        version = tracking.register(run, note["model"], out / ENCODER, card, "candidate", tags)
        tracking.finish(run, "FINISHED")
    done = Registered(note["model"], version, run.run_id)
    written = {"model": done.model, "objective": note["objective"], "version": version, "uri": done.uri}
    storage.write_note(out / TRAINED, written | {"run_id": done.run_id, "figures": note["figures"]})
    return done


def _hint(out: Path) -> str:
    return (
        f"the encoder is safe in {out / ENCODER} and its metrics in {out / METRICS}: when the server is reachable "
        f"again, run `herbray register {out}`"
    )


def read_trained(out: Path) -> dict[str, Any]:
    """The registered version of a run folder's encoder, and its figures."""
    return storage.read_note(out / TRAINED, describe_remedy(out))


def _read_note(out: Path) -> dict[str, Any]:
    if not storage.is_file(out / NOTE):
        raise ValueError(f"{out}: no training here ({NOTE} is missing); give the folder `out` of a `herbray train`")
    note = storage.read_note(out / NOTE, describe_remedy(out))
    if "figures" not in note:
        raise ValueError(f"{out}: this training has not ended; run the same `herbray train` again to resume it")
    return note


def read_points(metrics: Path) -> list[tracking.Point]:
    """The rows of a metrics file as points of MLflow curves; the step is the number of images seen.

    That axis does not depend on batch or world size.
    """
    rows = read_metrics_with_times(metrics)
    return [tracking.Point(int(row["images"]), row.pop(TIME, None), row) for row in rows]
