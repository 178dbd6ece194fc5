"""The embeddings that every task reads: features of specimens with their labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.tasks.interface.columns import FeatureRows, Ids, Labels
from herbray.tasks.interface.validators import parse_splits, suggest_name

Objects = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

Features = npt.NDArray[np.float32] | FeatureRows
"""Features [n, d]: a matrix, or some rows of one. Both are read by indices: `features[rows]`."""

_CHUNK: Final = 65_536  # rows checked at a time
_LABELS: Final = ("order", "family", "genus", "species", "institution", "gathering", "true_species", "split")


class UnscorableError(ValueError):
    """The task cannot be scored on these embeddings: a genus is missing, or there are too few specimens or classes.

    Attributes:
        reason: what is missing; the message adds where it is missing and what to do.
    """

    def __init__(self, reason: str, where: str = "", way_out: str = "") -> None:
        """Compose the message."""
        super().__init__(f"{where}{': ' if where else ''}{reason}{'; ' if way_out else ''}{way_out}")
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Frozen representations of specimens with the labels under which the specimens are filed.

    Rows are sorted by `specimen_id`, so that no result depends on the row order of a file; `from_table` sorts them.
    Arrays of str, None where undetermined, are accepted for labels and ids, and turned into columns.

    Attributes:
        features: [n, d] float32, all finite.
        specimen_id: [n], strictly ascending.

    Raises:
        ValueError: the arrays differ in length, an id is repeated or out of order, or a feature is not finite.
    """

    features: Features
    specimen_id: Ids
    order: Labels
    family: Labels
    genus: Labels
    species: Labels
    institution: Labels
    gathering: Labels
    true_species: Labels
    split: Labels

    def __post_init__(self) -> None:
        """Check the properties that every task relies on."""
        if len(self.features.shape) != 2:
            raise ValueError(f"features have shape {self.features.shape}; expected [n, d], one row per specimen")
        for name in ("specimen_id", *_LABELS):
            if len(getattr(self, name)) != len(self.features):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.features)} specimens")
        object.__setattr__(self, "specimen_id", Ids.of(self.specimen_id))
        for name in _LABELS:
            object.__setattr__(self, name, Labels.of(getattr(self, name)))
        if not isinstance(self.features, FeatureRows):  # rows of a matrix that was checked
            _check_ids(self.specimen_id)
            _check_finite(self.features, self.specimen_id)

    def __len__(self) -> int:
        """Number of specimens."""
        return len(self.features)

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Read a table of `schema.embedding_schema` in any row order; other columns are ignored.

        Raises:
            ValueError: a column is missing, the embedding is not a fixed-size list or contains nulls, or the content is
                invalid (see the class).
        """
        table = _sort_by_id(table, "specimen_id", *_LABELS, "embedding")
        return cls(_read_features(table["embedding"]), **_read_labels(table))

    @classmethod
    def from_labels(cls, table: pa.Table) -> Self:
        """Read specimens that have not been embedded yet; their features have length 0. Input of `TaskSpec.check`.

        Args:
            table: the columns of `schema.SPECIMEN` and `split`, in any row order; other columns are ignored.

        Raises:
            ValueError: a column is missing, or an id is null or occurs twice.
        """
        table = _sort_by_id(table, "specimen_id", *_LABELS)
        return cls(np.empty((len(table), 0), np.float32), **_read_labels(table))

    @classmethod
    def from_files(cls, labels: pa.Table, dim: int, files: Iterator[pa.ChunkedArray]) -> Self:
        """Fill one matrix file by file, so that no more than a file is in memory beside it.

        Args:
            labels: the columns of `schema.SPECIMEN` and `split`, in the order of the files.
            dim: length of an embedding.
            files: the embedding columns, one after the other.

        Raises:
            ValueError: as for `from_table`, or the files hold other numbers of rows or of features.
        """
        order = pc.sort_indices(labels["specimen_id"]).to_numpy()
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        features, at = np.empty((len(order), dim), np.float32), 0
        for column in files:
            part = _read_features(column)
            features[place[at : at + len(part)]] = part
            at += len(part)
        if at != len(order):
            raise ValueError(f"{at:,} embeddings for {len(order):,} specimens")
        return cls(features, **_read_labels(_sort_by_id(labels, "specimen_id", *_LABELS)))

    def rank(self, name: str) -> Labels:
        """The labels at a rank ("order", "family", "genus", "species") or the "institution".

        Raises:
            ValueError: the rank is unknown; the message suggests the closest one.
        """
        known = (*schema.RANKS, "institution")
        if name not in known:
            raise ValueError(f"unknown rank {name!r}; {suggest_name(name, known)}")
        labels: Labels = getattr(self, name)
        return labels

    def take(self, rows: Mask | Indices) -> Self:
        """Select specimens by mask or by indices; the order of ids is kept, and the features are not copied."""
        chosen: Indices = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.sort(rows).astype(np.intp)
        if len(chosen) == len(self):
            return self
        whole = self.features
        features = whole.take(chosen) if isinstance(whole, FeatureRows) else FeatureRows(whole, chosen)
        labels = {name: getattr(self, name).take(chosen) for name in ("specimen_id", *_LABELS)}
        return type(self)(features, **labels)

    def select_splits(self, pooled: str) -> Self:
        """Select the specimens of a split or of several pooled splits, such as "herbarium+random".

        Raises:
            ValueError: the split is unknown.
            UnscorableError: the split contains no specimen.
        """
        chosen = self.take(self.split.isin(parse_splits(pooled)))
        if not len(chosen):
            present = sorted(set(self.split)) or "none"
            raise UnscorableError(f"no embeddings of split {pooled!r}; splits present: {present}")
        return chosen


def _check_ids(ids: Ids) -> None:
    if ids.column.null_count:
        raise ValueError("a specimen_id is null; every specimen needs an id")
    if (row := ids.first_unordered()) is not None:
        first, second = ids[row - 1], ids[row]
        if first == second:
            raise ValueError(f"specimen_id {first!r} occurs twice; copies of a specimen would be in two folds")
        raise ValueError(f"specimen_id {second!r} comes after {first!r}; use Embeddings.from_table, which sorts")


def _check_finite(features: npt.NDArray[np.float32], ids: Ids) -> None:
    parts = (features[start : start + _CHUNK] for start in range(0, len(features), _CHUNK))
    found = [np.isfinite(part).all(axis=1) for part in parts]
    bad = np.flatnonzero(~np.concatenate(found)) if found else np.empty(0, np.intp)
    if len(bad):
        some = ", ".join(map(repr, ids[bad[:3]]))
        raise ValueError(
            f"{len(bad)} of {len(features)} embeddings contain non-finite numbers, first {some}; the encoder has "
            "diverged or its weights are damaged: train it again at a lower learning rate"
        )


def _sort_by_id(table: pa.Table, *columns: str) -> pa.Table:
    missing = set(columns) - set(table.column_names)
    if missing:
        raise ValueError(f"the embeddings table lacks {sorted(missing)}; it has {table.column_names}")
    return table.select(columns).take(pc.sort_indices(table["specimen_id"]))


def _read_labels(table: pa.Table) -> dict[str, Any]:
    return {"specimen_id": Ids.of(table["specimen_id"])} | {name: Labels.from_arrow(table[name]) for name in _LABELS}


def _read_features(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    if not pa.types.is_fixed_size_list(column.type):
        raise ValueError(f"the embedding column has type {column.type}; expected a fixed_size_list of float32")
    values = column.combine_chunks()
    flat = values.flatten()
    if values.null_count or flat.null_count:
        raise ValueError("the embedding column contains nulls; remove specimens without an embedding")
    matrix: npt.NDArray[np.float32] = flat.to_numpy().astype(np.float32, copy=False)
    return matrix.reshape(len(values), column.type.list_size)
