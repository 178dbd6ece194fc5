"""What checkpoints cost a training that nothing happens to: how long its steps wait, measured in the run itself."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from drill import Drill, Found
from small_training import prepared


@contextmanager
def timed(kind: type, name: str, seconds: list[float]) -> Iterator[None]:
    """Note how long each call of a method takes."""
    method = getattr(kind, name)

    def through(*given, **named):
        began = time.monotonic()
        try:
            return method(*given, **named)
        finally:
            seconds.append(time.monotonic() - began)

    with mock.patch.object(kind, name, through):
        yield


def overhead(folder: Path) -> Found:
    """A ResNet-18 with the states of AdamW, in this process, four checkpoints an epoch."""
    import torch

    from herbray.flow.training.checkpoints.coordinator import CheckpointCoordinator
    from herbray.flow.training.checkpoints.directory import CheckpointDirectory, CheckpointWriter
    from herbray.flow.training.job import fit
    from herbray.flow.training.training_data import read_training_data
    from herbray.flow.training.worker.loop import _TrainingLoop

    torch.set_num_threads(1)  # as in the other drills: other work on the cores is not to be fought for
    size, epochs = 40, 2
    spec = prepared(folder, {}, workers=0, epochs=epochs, encoder={"size": size})
    names = [
        (CheckpointCoordinator, "save"),
        (CheckpointWriter, "begin"),
        (CheckpointCoordinator, "keep_up"),
        (CheckpointWriter, "close"),
        (CheckpointDirectory, "save"),
        (_TrainingLoop, "run"),
    ]
    took: dict[str, list[float]] = {f"{kind.__name__}.{name}": [] for kind, name in names}
    with ExitStack() as stack:
        for kind, name in names:
            stack.enter_context(timed(kind, name, took[f"{kind.__name__}.{name}"]))
        fitted = fit(spec)
    count = len(took["CheckpointCoordinator.save"])
    waited = sum(took["CheckpointWriter.begin"]) + sum(took["CheckpointCoordinator.keep_up"])
    copied = sum(took["CheckpointCoordinator.save"]) - sum(took["CheckpointWriter.begin"])
    written, epoch = sum(took["CheckpointDirectory.save"]) / count, sum(took["_TrainingLoop.run"]) / epochs
    size_mb = sum(path.stat().st_size for path in fitted.checkpoint.rglob("*") if path.is_file()) / 1e6
    data = read_training_data(spec)
    images = data.per_epoch * data.windows[0].batches * spec.stream.batch
    result = (
        f"{count} checkpoints of {size_mb:.0f} MB; each holds training up for {1000 * copied / count:.0f} ms (copy) + "
        f"{1000 * waited / count:.0f} ms (waiting for the one before), and is written in {written:.1f} s beside it; "
        f"{100 * (copied + waited) / epochs / epoch:.1f} % of an epoch of {epoch:.1f} s with {count // epochs} "
        f"checkpoints ({images} images of {size} px, ResNet-18, AdamW, one thread); "
        f"{took['CheckpointWriter.close'][-1]:.1f} s at the run's end"
    )
    good = count == 4 * epochs and copied / count < written
    return Found("nothing", "overhead of checkpoints", result, good)


DRILLS = {"overhead": Drill(overhead, 240)}
