"""What would stop a study hours after it began, told before anything is trained."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from herbray.flow.learn import build_learner
from herbray.flow.manifest import read_index
from herbray.flow.material import Train
from herbray.model.encoder import EncoderSpec, build_encoder, start_name
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


def distinct(starts: Sequence[EncoderSpec], further: Sequence[EncoderSpec]) -> list[EncoderSpec]:
    """Start weights to be evaluated as they are, each once.

    Args:
        starts: of the trainings; of several that differ in what goes in alone, the first.
        further: that the settings add.

    Raises:
        ValueError: one of `further` differs from another encoder in what goes in alone, e.g. its size: results could
            not tell the two apart.
    """
    found: dict[tuple[str, str, str], EncoderSpec] = {}
    for each in starts:
        found.setdefault((each.arch, each.init, each.stem), each)
    for each in further:
        there = found.setdefault((each.arch, each.init, each.stem), each)
        if there != each:
            raise ValueError(
                f"frozen: results could not tell {each.arch} from {start_name(each.init, each.stem)} with size="
                f"{each.size}, normalise={each.normalise} from that with size={there.size}, normalise="
                f"{there.normalise}, which is evaluated too: leave one out"
            )
    return list(found.values())
