"""What a training job knows of its shards before an image is read: labels, the plan of all epochs, validation rows."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from herbray.data.labels import encode_lineages
from herbray.data.planning import plan
from herbray.data.planning.herbaria import add_herbaria, check_herbaria
from herbray.data.planning.validation import ValidationSample, plan_validation
from herbray.flow.shards.manifest import read_index, read_lineages, read_manifest
from herbray.flow.shards.specimens import read_specimens
from herbray.flow.training.specification import Train
from herbray.flow.training.teacher import Teacher, read_teacher
from herbray.model.objectives import DataFacts

MAX_VALIDATION_BYTES: Final = 4 * 10**9
"""Most bytes that the JPEGs of a validation sample may take, on all workers together."""


@dataclass(frozen=True)
class TrainingData:
    """What the shards folder says, read once. No image is read.

    Attributes:
        index: of the shards; the bags of the training split have their herbaria if the stream balances them.
        manifest: of the shards.
        classes: names at the rank of the shards, in the order of their labels.
        lineage: Int64 [classes, ranks], see `encode_lineages`; None if the objective does not use it.
        windows: of all epochs; each is made when it is asked for.
        validation: the sample that the encoder is validated on; None without a validation split.
        teacher: the embeddings that a distillation learns from; None for other objectives.
    """

    index: pa.Table
    manifest: dict[str, Any]
    classes: list[str]
    lineage: npt.NDArray[np.int64] | None
    windows: plan.Windows
    validation: ValidationSample | None
    teacher: Teacher | None = None

    @property
    def facts(self) -> DataFacts:
        """What an objective needs to know of the data."""
        lineage = None if self.lineage is None else torch.from_numpy(self.lineage)
        return DataFacts(lineage, self.teacher.dim if self.teacher else 0)

    @property
    def per_epoch(self) -> int:
        """Windows per epoch."""
        return self.windows.per_epoch


def read_training_data(spec: Train) -> TrainingData:
    """Read the index and plan all epochs.

    Raises:
        ValueError: no finished shards, shards smaller than the encoder's input, fewer than two names to train on,
            a batch that the objective's group does not divide, herbaria to balance but only one in the training split,
            a validation sample too large for memory, or a teacher without an embedding of each specimen.
    """
    manifest, index = read_manifest(spec.shards), read_index(spec.shards)
    if spec.encoder.size > manifest["side"]:
        raise ValueError(
            f"encoder.size={spec.encoder.size} px, but {spec.shards} holds images of {manifest['side']} px: "
            f"run `herbray shard` with side={spec.encoder.size} or larger, or lower encoder.size"
        )
    classes = plan.list_classes(index)
    if len(classes) < 2:
        raise ValueError(
            f"{spec.shards}: {len(classes)} {manifest['rank']} in the training split, but an encoder "
            "needs at least two names to distinguish; add sheets, or run `herbray shard` with another labels.rank"
        )
    index = _with_herbaria(spec, index) if spec.stream.herbaria else index
    windows = plan_windows(spec, index, classes)
    lineage = encode_lineages(read_lineages(spec.shards), classes) if spec.objective.uses_lineage else None
    validation = _plan_validation(spec, index, classes)
    folder, sample = spec.objective.teacher_folder, validation.specimens if validation else None
    teacher = read_teacher(folder, spec.shards, index, sample) if folder else None
    return TrainingData(index, manifest, classes, lineage, windows, validation, teacher)


def _with_herbaria(spec: Train, index: pa.Table) -> pa.Table:
    """The index, with the herbaria of the bags of the training split."""
    specimens = read_specimens(spec.shards, index, "train")
    check_herbaria(specimens["institution"], spec.stream.herbaria)
    is_train = pc.equal(index["split"], "train")
    bags = add_herbaria(index.filter(is_train), specimens)
    return pa.concat_tables([bags, index.filter(pc.invert(is_train))], promote_options="default")


def plan_windows(spec: Train, index: pa.Table, classes: list[str]) -> plan.Windows:
    """The windows of all epochs, in order."""
    group, rivals = spec.objective.group, spec.objective.rivals
    return plan.plan_run(index, classes, spec.stream, group, spec.seed, spec.epochs, rivals)


def _plan_validation(spec: Train, index: pa.Table, classes: list[str]) -> ValidationSample | None:
    specimens = read_specimens(spec.shards, index, "validation")
    if not len(specimens):
        return None
    objective = spec.objective
    found = plan_validation(
        specimens, classes, spec.validate_rows, spec.stream.batch, objective.group, objective.rivals
    )
    size = pc.sum(found.specimens["bytes"]).as_py()
    if size > MAX_VALIDATION_BYTES:
        rows = len(found.specimens)
        raise ValueError(
            f"validate_rows={spec.validate_rows}: the JPEGs of {rows:,} validation specimens take {size / 1e9:.1f} GB, "
            f"and training holds at most {MAX_VALIDATION_BYTES / 1e9:g} GB of them in memory: "
            f"lower validate_rows to about {int(rows * MAX_VALIDATION_BYTES / size)}"
        )
    return found
