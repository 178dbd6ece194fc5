"""What every task shares: the embeddings that it reads, the scores that it gives, the shape of its settings."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Self, TypeVar, final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BeforeValidator, Field

from herbray import schema
from herbray.config import Spec
from herbray.tasks.outcomes import Measured, Score

Objects = npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

T = TypeVar("T")

PAPER_SEED: Final = 89
"""The seed that Walker et al. 2022 used; a task's seed places its folds and draws, whichever encoder is tried."""

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
        table = _by_id(table, "specimen_id", *_LABELS, "embedding")
        return cls(features=_matrix(table["embedding"]), **_labels(table))

    @classmethod
    def of_labels(cls, table: pa.Table) -> Self:
        """Specimens that no encoder has seen yet, with features of length 0: what `TaskSpec.check` asks about.

        Args:
            table: `schema.SPECIMEN` and `split`, in any row order; further columns are ignored.

        Raises:
            ValueError: a column is missing, or an id is null or occurs twice.
        """
        table = _by_id(table, "specimen_id", *_LABELS)
        return cls(features=np.empty((len(table), 0), np.float32), **_labels(table))

    def rank(self, name: str) -> Objects:
        """The labels at a rank ("order", "family", "genus", "species") or the "institution": [n] str or None.

        Raises:
            ValueError: no such rank; the message names the nearest.
        """
        known = (*schema.RANKS, "institution")
        if name not in known:
            raise ValueError(f"unknown rank {name!r}; {nearest(name, known)}")
        labels: Objects = getattr(self, name)
        return labels

    def take(self, rows: Mask | Indices) -> Self:
        """The chosen specimens, by mask or by indices; they stay in the order of their ids."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.sort(rows)
        labels = {name: getattr(self, name)[chosen] for name in ("specimen_id", *_LABELS)}
        return type(self)(features=self.features[chosen], **labels)

    def of_split(self, pooled: str) -> Self:
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


def parse_splits(pooled: str) -> tuple[str, ...]:
    """The names in "herbarium+random".

    Raises:
        ValueError: a name is no split, or occurs twice.
    """
    names = tuple(pooled.split("+"))
    for name in names:
        if name not in schema.SPLITS:
            raise ValueError(f"unknown split {name!r} in {pooled!r}; {nearest(name, schema.SPLITS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{pooled!r} names a split twice")
    return names


def _checked_split(pooled: str) -> str:
    parse_splits(pooled)
    return pooled


def once(entries: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a tuple that holds something twice: its scores would be there twice. For use as a validator."""
    if len(set(entries)) < len(entries):
        raise ValueError("an entry occurs twice")
    return entries


Pooled = Annotated[str, AfterValidator(_checked_split)]
"""A split, or several joined by "+"."""

PooledSplits = Annotated[tuple[Pooled, ...], Field(min_length=1), AfterValidator(once)]
"""Where a task is run: at least one split or pool of splits, each once."""


class TaskSpec(Spec, ABC):
    """Settings of one task; what it computes is a pure function of (embeddings, settings, split, seed).

    A new task is one file with one final subclass, and one line in `herbray.tasks.TASKS`.

    Attributes:
        name: a Literal in each subclass; its key in `TASKS` and the `task` column of the results.
        splits: where the task is to be run; "herbarium+random" pools two.
        parallel_over: the field, a tuple, whose entries are scored independently of each other.
        checked_over: the field, a tuple, of whose entries some may be left out where labels do not allow them.
    """

    parallel_over: ClassVar[str | None] = None
    checked_over: ClassVar[str | None] = None

    name: str
    splits: PooledSplits

    @abstractmethod
    def measure(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> Measured:
        """Score one encoder on one split, and say what each specimen contributed.

        Args:
            embeddings: of this split at least; specimens of other splits are passed over.
            split: one of `splits`.
            seed: places folds and draws. Keep it the same for all encoders, so that they are compared fold by fold.

        Raises:
            UnscorableError: the embeddings do not allow the task; the message says what is missing.
        """

    @abstractmethod
    def check(self, labels: Embeddings, split: str, seed: int = PAPER_SEED) -> None:
        """See whether these labels allow the task: nothing else does `measure` ask before it looks at features.

        Args:
            labels: as in `measure`; their features are not looked at, see `Embeddings.of_labels`.
            split: one of `splits`.
            seed: as in `measure`.

        Raises:
            UnscorableError: they do not; the same as of `measure`.
        """

    @final
    def run(self, embeddings: Embeddings, split: str, seed: int = PAPER_SEED) -> list[Score]:
        """The scores alone; see `measure`."""
        return self.measure(embeddings, split, seed).scores

    @final
    def parts(self) -> tuple[Self, ...]:
        """Narrower settings whose scores, put together, are this task's: what may be run side by side."""
        return self._each(self.parallel_over)

    @final
    def each_checked(self) -> tuple[Self, ...]:
        """Narrower settings that are checked one by one, see `checked_over`."""
        return self._each(self.checked_over)

    @final
    def narrowed(self, **settings: tuple[object, ...]) -> Self:
        """With these settings in place of others; what the user has written, `model_fields_set`, stays what it was."""
        found = self.model_copy(update=settings)
        found.model_fields_set.intersection_update(self.model_fields_set)
        return found

    def _each(self, field: str | None) -> tuple[Self, ...]:
        if field is None or not getattr(self, field):
            return (self,)
        return tuple(self.narrowed(**{field: (entry,)}) for entry in getattr(self, field))


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a name that is not among the known: the closest of them, else all."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def hinted(literal: object) -> BeforeValidator:
    """Make a `Literal` of strings answer an unknown name with the nearest known one."""
    known = get_args(literal)

    def check(value: object) -> object:
        if isinstance(value, str) and value not in known:
            raise ValueError(f"unknown name {value!r}; {nearest(value, known)}")
        return value

    return BeforeValidator(check)


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


def _by_id(table: pa.Table, *columns: str) -> pa.Table:
    missing = set(columns) - set(table.column_names)
    if missing:
        raise ValueError(f"the embeddings table lacks {sorted(missing)}; it has {table.column_names}")
    return table.select(columns).take(pc.sort_indices(table["specimen_id"]))


def _labels(table: pa.Table) -> dict[str, Objects]:
    return {name: table[name].to_numpy() for name in ("specimen_id", *_LABELS)}


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    if not pa.types.is_fixed_size_list(column.type):
        raise ValueError(f"the embedding column is {column.type}; a fixed_size_list of float32 is needed")
    values = column.combine_chunks()
    flat = values.flatten()
    if values.null_count or flat.null_count:
        raise ValueError("the embedding column holds nulls; a specimen without an embedding does not belong here")
    matrix: npt.NDArray[np.float32] = flat.to_numpy().astype(np.float32, copy=False)
    return matrix.reshape(len(values), column.type.list_size)
