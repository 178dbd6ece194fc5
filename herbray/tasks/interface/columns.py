"""Columns of embeddings that are small in memory and cross processes without a copy.

A column of labels is a code per row and each name once; ids are one Arrow array; features are a matrix and the rows of
it that are meant. Pickled with protocol 5, as by Ray, their buffers are shared, not copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Objects = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Labels:
    """A column of names, None where there is none.

    Attributes:
        codes: Int32 [n], places in `names`; -1 for None.
        names: [u] each name once, ascending; some may occur in no row.
    """

    codes: npt.NDArray[np.int32]
    names: Objects

    @classmethod
    def of(cls, column: "Labels | npt.ArrayLike") -> "Labels":
        """The column of an array of str and None."""
        if isinstance(column, Labels):
            return column
        return cls.from_arrow(pa.array(np.asarray(column, dtype=object), pa.string()))

    @classmethod
    def from_arrow(cls, column: pa.Array | pa.ChunkedArray) -> "Labels":
        """The column of an Arrow array of strings."""
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        coded = whole if pa.types.is_dictionary(whole.type) else pc.dictionary_encode(whole)
        names = np.array(coded.dictionary.to_pylist(), dtype=object)
        order = np.argsort(names)
        place = np.empty(len(names) + 1, np.int32)  # the last entry is for None
        place[order], place[-1] = np.arange(len(names)), -1
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        return cls(place[codes], names[order])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.codes)

    def __iter__(self) -> Iterator[Any]:
        """The names of the rows."""
        return iter(self.objects())

    def __getitem__(self, rows: Any) -> Any:  # noqa: ANN401  (as an array does)
        """Names of some rows."""
        return self._lookup()[self.codes[rows]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: ANN401  (NumPy's)
        """All names as an array."""
        return self.objects().astype(dtype or object)

    def __eq__(self, name: object) -> Any:  # noqa: ANN401  (as an array does)
        """Which rows have this name: Bool [n]."""
        return self.isin([name])

    def __ne__(self, name: object) -> Any:  # noqa: ANN401  (as an array does)
        """Which rows do not have this name: Bool [n]."""
        return ~self.isin([name])

    def astype(self, kind: Any) -> npt.NDArray[Any]:  # noqa: ANN401  (NumPy's)
        """All names as an array of a type."""
        return self.objects().astype(kind)

    def copy(self) -> Objects:
        """All names as a new array."""
        return self.objects()

    def objects(self) -> Objects:
        """All names as an array; equal names are one object."""
        found: Objects = self._lookup()[self.codes]
        return found

    def take(self, rows: Indices) -> "Labels":
        """The column of some rows."""
        return Labels(self.codes[rows], self.names)

    def isin(self, names: Any) -> Mask:  # noqa: ANN401  (a list of str and None)
        """Which rows have one of some names: Bool [n]."""
        known = np.array([name in set(names) for name in self.names] + [None in names], dtype=bool)
        found: Mask = known[self.codes]
        return found

    def known(self) -> Indices:
        """The rows that have a name."""
        return np.flatnonzero(self.codes >= 0)

    def _lookup(self) -> Objects:
        return np.append(self.names, np.array([None], dtype=object))


@dataclass(frozen=True, eq=False)
class Ids:
    """A column of ids, each once.

    Attributes:
        column: Arrow strings [n], in one chunk.
    """

    column: pa.Array

    @classmethod
    def of(cls, column: "Ids | npt.ArrayLike | pa.ChunkedArray") -> "Ids":
        """The column of an array of str, or of Arrow strings."""
        if isinstance(column, Ids):
            return column
        if isinstance(column, pa.ChunkedArray):
            return cls(column.cast(pa.large_string()).combine_chunks())
        return cls(pa.array(np.asarray(column, dtype=object), pa.large_string()))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        """The ids."""
        return iter(self.column.to_pylist())

    def __getitem__(self, rows: Any) -> Any:  # noqa: ANN401  (as an array does)
        """Ids of some rows; a mask, indices or a slice gives an array."""
        if isinstance(rows, int | np.integer):
            return self.column[int(rows)].as_py()
        chosen = np.arange(len(self))[rows]
        return self.take(chosen).column.to_numpy(zero_copy_only=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: ANN401  (NumPy's)
        """All ids as an array."""
        found: npt.NDArray[Any] = self.column.to_numpy(zero_copy_only=False).astype(dtype or object)
        return found

    def take(self, rows: Indices) -> "Ids":
        """The column of some rows."""
        return Ids(self.column.take(pa.array(rows)))

    def first_unordered(self) -> int | None:
        """The first row whose id is not above the one before it; None if ids ascend strictly."""
        wrong = pc.index(pc.less_equal(self.column[1:], self.column[:-1]), True).as_py()
        return None if wrong < 0 else wrong + 1


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Some rows of a matrix; only the rows that are asked for are copied.

    Attributes:
        matrix: Float32 [n, d].
        place: [m] rows of the matrix.
    """

    matrix: npt.NDArray[np.float32]
    place: Indices

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return len(self.place), self.matrix.shape[1]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.place)

    def __getitem__(self, rows: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401  (as an array does)
        """A copy of some rows."""
        found: npt.NDArray[np.float32] = self.matrix[self.place[rows]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: ANN401  (NumPy's)
        """A copy of all rows."""
        return self.matrix[self.place].astype(dtype or np.float32, copy=False)

    def take(self, rows: Indices) -> "FeatureRows":
        """Some of these rows."""
        return FeatureRows(self.matrix, self.place[rows])
