"""Prepare a training job: read its shards, resolve its start weights and find the run that it resumes."""

from dataclasses import dataclass, replace
from pathlib import Path

from herbray import storage, tracking
from herbray.flow.training.checkpoints.directory import CheckpointDirectory, checkpoint_directory
from herbray.flow.training.runs.continuation import continue_run
from herbray.flow.training.runs.identity import run_name
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import TrainingData, read_training_data
from herbray.model.portable import CARD_FILE
from herbray.storage.room import check_fits


@dataclass(frozen=True)
class PreparedTraining:
    """A training job that can start.

    Attributes:
        spec: of the job, with start weights by version and with the measures that its run began with.
        name: of the run.
        data: what its shards say.
        checkpoints: of the run.
    """

    spec: Train
    name: str
    data: TrainingData
    checkpoints: CheckpointDirectory

    def has_ended(self) -> bool:
        """Whether the newest checkpoint has consumed every window."""
        newest = self.checkpoints.newest()
        return newest is not None and newest.consumed == len(self.data.windows)

    def with_workers(self, workers: int) -> "PreparedTraining":
        """The same run on so many workers."""
        return replace(self, spec=self.spec.model_copy(update={"workers": workers}))


def prepare_training(spec: Train) -> PreparedTraining:
    """Read what the shards say, resolve the start weights, and find the run that the job resumes.

    Raises:
        ValueError: bad input, see `read_training_data`; or a registry without the start weights.
    """
    _check_cache(spec)
    data = read_training_data(spec)  # bad input is reported before the registry is asked
    resumed = continue_run(resolve_start_weights(spec, spec.store), data)
    if resumed.validate_rows != spec.validate_rows:
        data = read_training_data(resumed)
    name = run_name(resumed)
    return PreparedTraining(resumed, name, data, checkpoint_directory(resumed, name))


def _check_cache(spec: Train) -> None:
    """Check that what training reads in every epoch fits into the node's cache.

    Raises:
        ValueError: it does not; or the decoded cache would lie in a bucket.
    """
    if spec.loader.cache is not None and storage.is_remote(spec.loader.cache):
        raise ValueError("loader.cache: must be a folder on the node's disk: give its absolute path")
    if storage.is_remote(spec.shards):
        sizes = [storage.file_sizes(spec.shards / f"split={name}") for name in ("train", "validation")]
        check_fits(sum(sum(each.values()) for each in sizes), storage.show(spec.shards))


def resolve_start_weights(spec: Train, store: Path) -> Train:
    """The job with its start weights by version: the one that an alias of the registry names now.

    Args:
        spec: of the job.
        store: whose registry it is, unless `MLFLOW_TRACKING_URI` is set.

    Raises:
        ValueError: no such model, version or alias, or no registry.
    """
    if not spec.encoder.init.startswith("models:/"):
        return spec
    init = tracking.pin_version(tracking.tracking_uri(store), spec.encoder.init)
    return spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"init": init})})


def refuse_own_start(spec: Train) -> Train:
    """Refuse start weights that this job's own registration would move; a sweep registers nothing.

    Raises:
        ValueError: the job starts from an alias that it moves.
    """
    if spec.encoder.init in (f"models:/{spec.model_name}@candidate", f"models:/{spec.model_name}/latest"):
        raise ValueError(
            f"encoder.init={spec.encoder.init}: this training registers a version of {spec.model_name}, so the same "
            f"command would start from its own result the next time: name a version, models:/{spec.model_name}/N"
        )
    return spec


def find_start_weights(spec: Train) -> Path | None:
    """Folder with the start weights, where every worker can read it; None if the encoder needs none."""
    init = spec.encoder.init
    if init.startswith("models:/"):
        folder = tracking.pull(init, tracking.tracking_uri(spec.store), cache=spec.out.absolute() / "init")
        storage.share_folder(folder, last=CARD_FILE)
        return folder
    return None if init in ("random", "imagenet") else Path(init).absolute()
