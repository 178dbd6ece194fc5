"""The embeddings that every task reads: features of specimens with their labels."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.tasks.validators import parse_splits, suggest_name

Objects = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_LABELS: Final = ("order", "family", "genus", "species", "institution", "gathering", "true_species", "split")


class UnscorableError(ValueError):
    """A task that these embeddings do not allow: a genus is missing, or too few specimens or classes are there.

    Attributes:
        reason: what is missing; the message also tells where, and what to do.
    """

    def __init__(self, reason: str, where: str = "", way_out: str = "") -> None:
        """Put the message together."""
        super().__init__(f"{where}{': ' if where else ''}{reason}{'; ' if way_out else ''}{way_out}")
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Frozen representations of specimens with the labels they are filed under.

    Rows stand in the order of `specimen_id`, so that nothing computed from them depends on the order of a file;
    `from_table` sorts. Labels are arrays of str, None where undetermined.

    Attributes:
        features: [n, d] float32, all finite.
        specimen_id: [n], strictly ascending.

    Raises:
        ValueError: the arrays differ in length, an id occurs twice or out of order, or a feature is not finite.
    """

    features: npt.NDArray[np.float32]
    specimen_id: Objects
    order: Objects
    family: Objects
    genus: Objects
    species: Objects
    institution: Objects
    gathering: Objects
    true_species: Objects
    split: Objects

    def __post_init__(self) -> None:
        """Check what every task relies on."""
        if self.features.ndim != 2:
            raise ValueError(f"features have shape {self.features.shape}; one row a specimen is needed: [n, d]")
        for name in ("specimen_id", *_LABELS):
            if len(getattr(self, name)) != len(self.features):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.features)} specimens")
        _check_ids(self.specimen_id)
        _check_finite(self.features, self.specimen_id)

    def __len__(self) -> int:
        """Number of specimens."""
        return len(self.features)

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Read a table of `schema.embedding_schema`, in any row order; further columns are ignored.

        Raises:
            ValueError: a column is missing, the embedding is no list of fixed size or is null somewhere, or the
                content is refused (see the class).
        """
        table = _sort_by_id(table, "specimen_id", *_LABELS, "embedding")
        return cls(features=_read_features(table["embedding"]), **_read_labels(table))

    @classmethod
    def from_labels(cls, table: pa.Table) -> Self:
        """Specimens that no encoder has seen yet, with features of length 0: what `TaskSpec.check` asks about.

        Args:
            table: `schema.SPECIMEN` and `split`, in any row order; further columns are ignored.

        Raises:
            ValueError: a column is missing, or an id is null or occurs twice.
        """
        table = _sort_by_id(table, "specimen_id", *_LABELS)
        return cls(features=np.empty((len(table), 0), np.float32), **_read_labels(table))

    def rank(self, name: str) -> Objects:
        """The labels at a rank ("order", "family", "genus", "species") or the "institution": [n] str or None.

        Raises:
            ValueError: no such rank; the message names the nearest.
        """
        known = (*schema.RANKS, "institution")
        if name not in known:
            raise ValueError(f"unknown rank {name!r}; {suggest_name(name, known)}")
        labels: Objects = getattr(self, name)
        return labels

    def take(self, rows: Mask | Indices) -> Self:
        """The chosen specimens, by mask or by indices; they stay in the order of their ids."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.sort(rows)
        labels = {name: getattr(self, name)[chosen] for name in ("specimen_id", *_LABELS)}
        return type(self)(features=self.features[chosen], **labels)

    def select_splits(self, pooled: str) -> Self:
        """The specimens of a split, or of several pooled: "herbarium+random".

        Raises:
            ValueError: no such split.
            UnscorableError: no specimen is in it.
        """
        chosen = self.take(np.isin(self.split.astype(str), parse_splits(pooled)))
        if not len(chosen):
            there = sorted(set(self.split)) or "none at all"
            raise UnscorableError(f"no embeddings of split {pooled!r}; there are those of {there}")
        return chosen


def _check_ids(ids: Objects) -> None:
    if any(name is None for name in ids):
        raise ValueError("a specimen_id is null; every specimen needs one")
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(wrong):
        first, second = ids[wrong[0]], ids[wrong[0] + 1]
        if first == second:
            raise ValueError(f"specimen_id {first!r} occurs twice; copies of a specimen would stand in two folds")
        raise ValueError(f"specimen_id {second!r} stands after {first!r}; use Embeddings.from_table, which sorts")


def _check_finite(features: npt.NDArray[np.float32], ids: Objects) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        some = ", ".join(map(repr, ids[bad[:3]]))
        raise ValueError(
            f"{len(bad)} of {len(features)} embeddings hold numbers that are not finite, first {some}; "
            "the encoder has diverged or its weights are damaged: train it anew at a lower rate"
        )


def _sort_by_id(table: pa.Table, *columns: str) -> pa.Table:
    missing = set(columns) - set(table.column_names)
    if missing:
        raise ValueError(f"the embeddings table lacks {sorted(missing)}; it has {table.column_names}")
    return table.select(columns).take(pc.sort_indices(table["specimen_id"]))


def _read_labels(table: pa.Table) -> dict[str, Objects]:
    return {name: table[name].to_numpy() for name in ("specimen_id", *_LABELS)}


def _read_features(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    if not pa.types.is_fixed_size_list(column.type):
        raise ValueError(f"the embedding column is {column.type}; a fixed_size_list of float32 is needed")
    values = column.combine_chunks()
    flat = values.flatten()
    if values.null_count or flat.null_count:
        raise ValueError("the embedding column holds nulls; a specimen without an embedding does not belong here")
    matrix: npt.NDArray[np.float32] = flat.to_numpy().astype(np.float32, copy=False)
    return matrix.reshape(len(values), column.type.list_size)
