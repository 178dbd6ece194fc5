"""Summary of long-form results: the series in figures, and the mean and spread of each cell.

A *series* is one kind of encoder, with the same name, colour and marker everywhere. The values of its training seeds
and folds or draws are pooled into *cells*.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from herbray import schema
from herbray.report.names import Kind, Settings, name_kinds
from herbray.report.text import clean
from herbray.schema import UNTRAINED

_PAPER_ORDER = ("triplet", "autoencoder", "classifier")
_LOOK = {  # colours of Okabe and Ito, distinguishable for colour-blind readers; markers differ, too
    "triplet": ("#0072B2", "o"),
    "autoencoder": ("#E69F00", "s"),
    "classifier": ("#009E73", "D"),
    UNTRAINED: ("#868686", "X"),
}
_OTHER_LOOKS = (
    ("#CC79A7", "^"),
    ("#D55E00", "v"),
    ("#56B4E9", "P"),
    ("#B8A800", "*"),
    ("#332288", "<"),
    ("#882255", ">"),
    ("#117733", "p"),
    ("#222222", "h"),
)

_NUMBER = re.compile("([0-9]+(?:[.][0-9]+)?)")  # splits a text into alternating texts and numbers


@dataclass(frozen=True)
class Series(Kind):
    """One kind of encoder as shown on the page; `label` is its name."""

    label: str
    colour: str
    marker: str


@dataclass(frozen=True)
class Gain:
    """A paired difference of two series, with the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """The finite values of one metric of one series, in order of seed and fold."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return math.fsum(self.values) / len(self.values)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation; None for a single value."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def is_above(self, other: "Cell") -> bool:
        """Whether mean - sd of this cell is above mean + sd of the other; False if a standard deviation is missing."""
        if self.sd is None or other.sd is None:
            return False
        return self.mean - self.sd > other.mean + other.sd


class Scores:
    """Results by (series, task, split, level, metric)."""

    def __init__(
        self, results: pa.Table, comparisons: pa.Table | None = None, series: Sequence[Series] | None = None
    ) -> None:
        """Index a `schema.RESULT` table; values that are not finite are left out and counted in `undefined`.

        Args:
            results: results in long form.
            comparisons: `schema.COMPARISON` rows of encoders compared on the same specimens; `paired` is true if any.
            series: all series of the page; None: those of the results.

        Raises:
            ValueError: a column is missing.
        """
        missing = sorted(set(schema.RESULT.names) - set(results.column_names))
        if missing:
            raise ValueError(f"the results lack the columns {', '.join(missing)}; create them with `herbray evaluate`")
        found: dict[tuple[str, str, str, str, str], list[tuple[int, str, int, float]]] = {}
        self.undefined = 0
        rows = results.select(schema.RESULT.names).to_pylist()
        for row in rows:
            if not math.isfinite(row["value"]):
                self.undefined += 1
                continue
            key = (row["kind"], row["task"], row["split"], row["level"], row["metric"])
            found.setdefault(key, []).append((row["seed"], row["encoder"], row["fold"], row["value"]))
        self._cells = {key: Cell(tuple(value for *_, value in sorted(values))) for key, values in found.items()}
        encoders = {(row["kind"], row["encoder"]) for row in rows}
        kinds = Counter(kind for kind, _ in encoders)
        shown = list_series({Kind.from_row(row) for row in rows}) if series is None else series
        self.series = tuple(one for one in shown if one.kind in kinds)
        self.seeds = max(kinds.values(), default=0)
        self._gains: dict[tuple[str, ...], Gain] = {}
        for row in [] if comparisons is None else comparisons.to_pylist():
            place = tuple(row[name] for name in ("task", "split", "level", "metric"))
            a, b = row["kind_a"], row["kind_b"]
            gain = Gain(row["difference"], row["low"], row["high"])
            self._gains[*place, a, b], self._gains[*place, b, a] = gain, Gain(-gain.mean, -gain.high, -gain.low)
        self.paired = bool(self._gains)

    def is_higher(self, one: Series, other: Series, place: tuple[str, str, str, str]) -> bool:
        """Whether one series scores clearly higher than another at a (task, split, level, metric).

        That is the case if the interval of the paired comparison is above 0. Without a paired comparison, it is the
        case if the intervals mean ± one standard deviation do not overlap, which is a rule of thumb.
        """
        paired = self.gain(one, other, place)
        if paired is not None:
            return paired.low > 0
        mine, theirs = self.cell(one, *place), self.cell(other, *place)
        return mine is not None and theirs is not None and mine.is_above(theirs)

    def gain(self, one: Series, other: Series, place: tuple[str, str, str, str]) -> "Gain | None":
        """The paired difference of two series; None if they were not compared on the same specimens."""
        return self._gains.get((*place, one.kind, other.kind))

    def cell(self, series: Series, task: str, split: str, level: str, metric: str) -> Cell | None:
        """The cell of a series, or None if it has no values."""
        return self._cells.get((series.kind, task, split, level, metric))

    def shared_cell(self, task: str, split: str, level: str, metric: str) -> Cell | None:
        """A cell that does not depend on the encoder, such as the majority baseline; taken from any series."""
        cells = (self.cell(series, task, split, level, metric) for series in self.series)
        return next((cell for cell in cells if cell is not None), None)

    def tasks(self) -> list[str]:
        """Names of the tasks, sorted."""
        return sorted({key[1] for key in self._cells})

    def splits(self, task: str) -> list[str]:
        """Splits of a task: herbarium, species, random, then pooled ones."""
        return sorted({key[2] for key in self._cells if key[1] == task}, key=split_order)

    def levels(self, task: str) -> list[str]:
        """Levels of a task: ranks from the narrowest, then others by name."""
        return sorted({key[3] for key in self._cells if key[1] == task}, key=level_order)

    def metrics(self, task: str) -> list[str]:
        """Metrics of a task, sorted."""
        return sorted({key[4] for key in self._cells if key[1] == task})


def list_series(kinds: Iterable[Kind], settings: Settings | None = None) -> tuple[Series, ...]:
    """Make the series of kinds, ordered: triplet, autoencoder, classifier, others by name, untrained.

    Args:
        kinds: all kinds that are shown together.
        settings: settings of kinds, used to distinguish kinds that would have the same name.
    """
    found = {each.kind: each for each in sorted(set(kinds), reverse=True)}
    names = name_kinds(found.values(), settings or {})
    ordered = sorted(found.values(), key=lambda each: (model_order(each.model), each.init, names[each.kind]))
    others = list(dict.fromkeys(each.model for each in ordered if not _has_fixed_look(each)))
    looks = {model: _OTHER_LOOKS[place % len(_OTHER_LOOKS)] for place, model in enumerate(others)}
    series: list[Series] = []
    for each in ordered:
        colour, marker = _LOOK[each.model] if _has_fixed_look(each) else looks[each.model]
        nth = sum(
            (each.model, _has_fixed_look(each)) == (earlier.model, _has_fixed_look(earlier)) for earlier in series
        )
        marker = marker if nth == 0 else "<>hdp8"[(nth - 1) % 6]
        series.append(Series(**asdict(each), label=names[each.kind], colour=colour, marker=marker))
    return tuple(series)


def _has_fixed_look(kind: Kind) -> bool:
    """Whether the kind has a fixed colour; a label that equals the name of an objective has none."""
    return kind.is_unlabelled and kind.model in _LOOK


def colour_of(objective: str) -> str:
    """The colour of the unlabelled encoders of an objective."""
    return _LOOK[objective][0]


def model_order(model: str) -> tuple[int, str]:
    """Sorting key: the three objectives of the paper, others by name, the untrained baseline."""
    if model == UNTRAINED:
        return len(_PAPER_ORDER) + 1, ""
    return (_PAPER_ORDER.index(model), "") if model in _PAPER_ORDER else (len(_PAPER_ORDER), model)


def split_order(split: str) -> tuple[int, int, str]:
    """Sorting key: the splits in the order of the paper, then pooled splits."""
    order = {"train": 0, "validation": 1, "herbarium": 2, "species": 3, "random": 4, "unused": 5}
    return split.count("+"), order.get(split, 9), split


def level_order(level: str) -> tuple[int, list[str | float], str]:
    """Sorting key: ranks from the narrowest, then other levels by name, with numbers by value: 5 % before 10 %."""
    ranks = tuple(reversed(schema.RANKS))
    if level in ranks:
        return ranks.index(level), [], ""
    parts: list[str | float] = [float(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(level))]
    return len(ranks), parts, level


def split_name(split: str) -> str:
    """A split as written on the page: "H (herbarium)", "H + R (pooled)", "train"."""
    parts = split.split("+")
    if not all(part in schema.TEST_SPLITS for part in parts):
        return clean(split)
    letters = " + ".join(part[0].upper() for part in parts)
    return f"{letters} ({parts[0] if len(parts) == 1 else 'pooled'})"


def kinship(pair: str, taxonomy: Mapping[str, tuple[str | None, str | None]]) -> str:
    """Relation of the two genera of a pair "A–B": "same family", "same order", "different orders", or "" if unknown."""
    known = [taxonomy.get(genus) for genus in pair.split("–")]
    if len(known) != 2 or known[0] is None or known[1] is None:
        return ""
    (family, order), (other_family, other_order) = known[0], known[1]
    if family is not None and family == other_family:
        return "same family"
    if order is None or other_order is None:
        return ""
    return "same order" if order == other_order else "different orders"
