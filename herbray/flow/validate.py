"""The one figure that all objectives share: k-NN genus accuracy of validation features."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor

from herbray.data.plan import Window
from herbray.flow.material import Material, Train, World
from herbray.flow.stream import WindowReader, local
from herbray.model.augment import prepare
from herbray.model.learner import Learner
from herbray.model.metrics import knn_accuracy

_log = logging.getLogger(__name__)


def gatherings(root: Path, windows: Sequence[Window]) -> dict[int, int]:
    """A number for each row of windows (`window.Batch.rows`), the same for rows of one gathering: duplicates.

    Where every genus lies in one gathering nothing could be told so: each row is then by itself, and a warning says so.
    """
    wanted = sorted({(part.file, part.row_group, part.bag) for window in windows for part in window.slices})
    numbers: dict[str, int] = {}
    found: dict[int, int] = {}
    for file, groups in itertools.groupby(wanted, key=lambda each: each[0]):
        shard = pq.ParquetFile(root / file)
        for _, group, bag in groups:
            for row, name in enumerate(shard.read_row_group(group, columns=["gathering"])["gathering"].to_pylist()):
                one = bag << 32 | row
                found[one] = numbers.setdefault(f"row {one}" if name is None else f"gathering {name}", len(numbers))
    genus = {part.bag: part.label for window in windows for part in window.slices}
    units = {(genus[one >> 32], unit) for one, unit in found.items()}
    if found and len(units) == len({label for label, _ in units}):
        _log.warning("validation: every genus is of one gathering; duplicates count as neighbours in val_knn")
        return {one: one for one in found}
    return found


@torch.no_grad()
def validate(spec: Train, data: Material, learner: Learner, world: World, units: Mapping[int, int]) -> dict[str, float]:
    """k-NN genus accuracy of validation features, the one figure that all objectives share, and the objective's loss.

    Each rank takes its share of the windows; features meet on every rank. A specimen counts once, and is told by
    specimens of other gatherings alone: a duplicate is found by its press and its label.

    Args:
        spec: of the job.
        data: whose validation windows are looked at.
        learner: as it is now.
        world: this rank's place.
        units: of `gatherings`.
    """
    if not data.validation:
        return {}
    if world.size > 1:  # ranks saw different batches: validate the statistics that the checkpoint will hold
        for buffer in learner.buffers():
            dist.broadcast(buffer, 0)
    learner.eval()
    torch.manual_seed(spec.seed)  # an objective may draw pairs
    reader = WindowReader(spec.shards, data.manifest["side"], centre=True)
    found: dict[int, tuple[Tensor, int]] = {}
    losses: list[float] = []
    shaped = data.validation[world.rank :: world.size]
    judged = sum(window.batches for window in shaped)  # the gallery's batches have another shape: no loss of theirs
    for number, batch in enumerate(local([*shaped, *data.gallery[world.rank :: world.size]], reader)):
        images = prepare(torch.tensor(batch.images).to(world.device), spec.encoder.size)
        labels = torch.tensor(batch.labels).to(world.device)
        features = learner.encoder(images.contiguous(memory_format=torch.channels_last))
        if number < judged:
            losses.append(float(learner.objective(features, images, labels)["loss"]))
        for row, label, feature in zip(batch.rows.tolist(), batch.labels.tolist(), features.float().cpu(), strict=True):
            found[row] = (feature, label)
    for other, more in _gather((found, losses), world):
        found |= other
        losses += more
    rows = sorted(found)
    features = torch.stack([found[row][0] for row in rows])
    labels = torch.tensor([found[row][1] for row in rows])
    apart = torch.tensor([units[row] for row in rows])
    accuracy = knn_accuracy(features, labels, spec.neighbours, units=apart)
    return {"val_knn": accuracy, "val_loss": sum(losses) / len(losses)}


def _gather(mine: tuple[dict[int, Any], list[float]], world: World) -> Iterator[tuple[dict[int, Any], list[float]]]:
    """What the other ranks found."""
    if world.size == 1:
        return
    everyone: list[Any] = [None] * world.size
    dist.all_gather_object(everyone, mine)
    for rank, theirs in enumerate(everyone):
        if rank != world.rank:
            yield theirs
