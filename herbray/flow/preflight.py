"""What would stop a study hours after it began, told before anything is trained."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from herbray.flow.learn import build_learner
from herbray.flow.manifest import read_index
from herbray.flow.material import Train
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.tasks import TaskSpec
from herbray.tasks.discriminate import Discriminate
from herbray.tasks.swaps import SwapTask


def check_start(job: Train) -> None:
    """Start weights that do not go with an encoder, or cannot be had. Those of a registry are looked at when pulled.

    Raises:
        ValueError: for such.
    """
    if not job.encoder.init.startswith("models:/"):
        build_learner(job, 2, None)


def check_frozen(start: EncoderSpec, seed: int) -> None:
    """`check_start` of an encoder that is evaluated as it is."""
    if not start.init.startswith("models:/"):
        build_encoder(start, seed)


def check_handed_over(job: Train, made: EncoderSpec) -> None:
    """Whether an encoder that is yet to be pretrained will fit the training that is to start from it.

    Raises:
        ValueError: it will not.
    """
    for key in ("arch", "stem", "normalise"):
        have, want = getattr(made, key), getattr(job.encoder, key)
        if have != want:
            raise ValueError(
                f"{job.called}: encoder.{key}={want}, but the pretraining that it starts from has {key}={have}: "
                f"set both alike"
            )


def check_pairs(tasks: Sequence[TaskSpec], shards: Path) -> None:
    """Whether each split holds enough specimens of the genera that tasks name as pairs.

    Raises:
        ValueError: it does not, so that the task could not be scored.
    """
    sizes = Counter[tuple[str, str]]()
    for row in read_index(shards).to_pylist():
        sizes[row["split"], row["genus"]] += row["rows"]
    for task in tasks:
        if not isinstance(task, Discriminate | SwapTask):
            continue
        for pair in task.pairs:
            for split in task.splits:
                for genus in (pair.positive, pair.negative):
                    have = sum(sizes[part, genus] for part in split.split("+"))
                    if have < task.folds:
                        raise ValueError(
                            f"{task.name}, pair {pair.level}, split {split}: {have} specimens of {genus}, and "
                            f"{task.folds} are needed: choose other `pairs`, or leave them empty"
                        )
