"""The teacher of a distillation: embeddings of the training and validation specimens, by row of the plan."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from herbray.flow.embedding_folder import read_embeddings, read_labels, read_note
from herbray.flow.shards.specimens import read_specimens

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Teacher:
    """Embeddings of a teacher.

    Attributes:
        train: Float32 [rows of the training split, t], bag after bag in the order of the sorted index.
        first: Int64 [bags], the row in `train` with which a bag begins.
        validation: Float32 [rows of the validation sample, t]; None without a validation split.
    """

    train: Vectors
    first: npt.NDArray[np.int64]
    validation: Vectors | None

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.train.shape[1])

    def find(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """The embeddings of the rows of a batch, whose ids are bag × 2³² + row: Float32 [n, t]."""
        return torch.from_numpy(self.train[self.first[rows >> 32] + (rows & 0xFFFFFFFF)])


def read_teacher(folder: Path, shards: Path, index: pa.Table, sample: pa.Table | None) -> Teacher:
    """Read the embeddings that a training needs, and put them in the order of its plan.

    Args:
        folder: of the embeddings.
        shards: folder of the shards.
        index: of the shards.
        sample: the specimens of the validation sample; None without a validation split.

    Raises:
        ValueError: no finished embeddings, or a specimen without an embedding.
    """
    table = read_embeddings(folder)
    ids, vectors = table["specimen_id"].combine_chunks(), table["embedding"].combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.float32, copy=False)
    specimens = read_specimens(shards, index, "train")
    train = matrix[_find_rows(folder, ids, specimens["specimen_id"], "train")]
    bags = index.filter(pc.equal(index["split"], "train")).sort_by([("file", "ascending"), ("row_group", "ascending")])
    ends = np.cumsum(bags["rows"].to_numpy()).astype(np.int64)
    rows = None if sample is None else _find_rows(folder, ids, sample["specimen_id"], "validation")
    return Teacher(train, np.concatenate([[0], ends[:-1]]), None if rows is None else matrix[rows])


def check_teacher(folder: Path, specimens: pa.ChunkedArray) -> None:
    """Check, before there are shards, that a teacher's embeddings are of these specimens.

    Some may lack an embedding here, since their images may be refused; `read_teacher` is strict.

    Raises:
        ValueError: no finished embeddings, or none of these specimens.
    """
    if not pc.any(pc.is_in(specimens, value_set=read_labels(folder).specimen_id.column.cast(pa.string()))).as_py():
        raise ValueError(
            f"{folder}: none of the {len(specimens):,} training specimens has an embedding: run `herbray embed` with "
            "splits=[train, validation] on the shards of this training"
        )


def _find_rows(folder: Path, ids: pa.Array, wanted: pa.ChunkedArray, split: str) -> npt.NDArray[np.int64]:
    """The row of each wanted specimen."""
    places = pc.index_in(wanted, value_set=ids)
    if places.null_count:
        example = wanted.filter(pc.is_null(places))[0].as_py()
        raise ValueError(
            f"{folder}: {places.null_count:,} of {len(wanted):,} specimens of the split {split} have no embedding, "
            f"e.g. {example}: run `herbray embed` with splits=[train, validation] on the shards of this training"
        )
    found: npt.NDArray[np.int64] = places.to_numpy().astype(np.int64)
    return found


def teacher_identity(folder: Path) -> str:
    """What identifies a teacher's embeddings: the fingerprints of its encoder and of the shards."""
    note = read_note(folder)
    return f"{note['encoder']} on {note['shards']}"
