"""The rankings of encoders that Walker et al. 2022 report, and the evidence of our paired comparisons for each.

The scores of the study are not known, only its rankings. Two objectives are compared only if both trainings had the
same start weights: in the study, the start weights differed between objectives, so its rankings mix the two causes.
Encoders with a label are separate experiments and are left out.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pyarrow as pa

from herbray import schema
from herbray.report.names import Kind, name_kinds
from herbray.report.scores import level_order, split_name, split_order
from herbray.report.text import clean
from herbray.schema import UNTRAINED

OBJECTIVES: Final = ("triplet", "autoencoder", "classifier")
"""The three objectives that the study compares."""

Verdict = Literal["agrees", "disagrees", "undecided"]
_ALL_OF: Final = {1: "the only comparison", 2: "both comparisons"}
VERDICTS: Final[tuple[Verdict, ...]] = ("agrees", "disagrees", "undecided")


@dataclass(frozen=True)
class Measure:
    """A metric by which a ranking is judged.

    Attributes:
        task: the task that measures the metric.
        metric: name of the metric in the results.
        label: name of the metric on the page.
        splits: the splits to consider; None: all.
        levels: the levels to consider; None: all, e.g. all pairs of genera that were measured.
    """

    task: str
    metric: str
    label: str
    splits: tuple[str, ...] | None = None
    levels: tuple[str, ...] | None = None

    def covers(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of `schema.COMPARISON` is a comparison by this metric."""
        return (
            (row["task"], row["metric"]) == (self.task, self.metric)
            and (self.splits is None or row["split"] in self.splits)
            and (self.levels is None or row["level"] in self.levels)
        )


@dataclass(frozen=True)
class Claim:
    """The claim that one objective is better than another at a task; the first of `measures` is the main one."""

    about: str
    better: str
    worse: str
    measures: tuple[Measure, ...]

    @property
    def order(self) -> str:
        """The claim as written on the page."""
        return f"{self.better} > {self.worse}"


_DISCRIMINATION = (
    Measure("discriminate", "balanced_accuracy", "balanced accuracy"),
    Measure("discriminate", "auroc", "AUROC"),
)
_MISLABELS = (
    Measure("mislabel", "auroc", "AUROC of the ranking"),
    Measure("mislabel", "tpr", "true-positive rate"),
)
_TRANSFER = (  # specimens whose herbarium (H) or species (S) was not in the training data
    Measure("identify", "accuracy", "accuracy", ("herbarium", "species"), ("genus",)),
    Measure("transfer", "accuracy", "accuracy, probe of another split", levels=("genus",)),
)
_IDENTIFICATION = (Measure("identify", "accuracy", "accuracy", schema.TEST_SPLITS, ("genus",)),)

CLAIMS: Final = (
    Claim("Genus discrimination", "autoencoder", "classifier", _DISCRIMINATION),
    Claim("Genus discrimination", "triplet", "classifier", _DISCRIMINATION),
    Claim("Mislabels", "triplet", "autoencoder", _MISLABELS),
    Claim("Mislabels", "autoencoder", "classifier", _MISLABELS),
    Claim("Mislabels", "triplet", "classifier", _MISLABELS),
    Claim("Transfer", "triplet", "classifier", _TRANSFER),
    Claim("Transfer", "triplet", "autoencoder", _TRANSFER),
)
"""The claims of the study: autoencoder and triplet discriminate genera better than the classifier; triplet finds
mislabels best, then autoencoder, then classifier; the triplet network transfers best."""

START_CLAIMS: Final = tuple(Claim("Genus identification", model, UNTRAINED, _IDENTIFICATION) for model in OBJECTIVES)
"""Not claims of the study: each trained encoder is better than its own frozen start weights."""


@dataclass(frozen=True)
class JudgedComparison:
    """One comparison of the two objectives of a claim; a positive difference supports the claim.

    Attributes:
        measure: the metric that was compared.
        split: split of the specimens.
        level: a rank or a pair of genera.
        start: the start weights of both, and which two encoders if an objective has several with these start weights.
        difference: difference of the means in percentage points; `low` and `high` are the ends of its interval.
        specimens: number of specimens on which both were scored.
        seeds: number of training runs of the better and of the worse objective.
        verdict: `undecided` if the interval contains 0.
    """

    measure: Measure
    split: str
    level: str
    start: str
    difference: float
    low: float
    high: float
    specimens: int
    seeds: tuple[int, int]
    verdict: Verdict

    @property
    def place(self) -> str:
        """Level and split as written on the page."""
        return f"{clean(self.level, 40)} · {split_name(self.split)}"


@dataclass(frozen=True)
class Judgement:
    """A claim with all comparisons that concern it, and the verdicts counted in words."""

    claim: Claim
    rows: tuple[JudgedComparison, ...]
    words: str


def judge_claims(
    comparisons: pa.Table, claims: Iterable[Claim], names: Mapping[str, str] | None = None
) -> tuple[Judgement, ...]:
    """Judge each claim by the comparisons of its two objectives with the same start weights.

    Args:
        comparisons: a `schema.COMPARISON` table.
        claims: the claims, in the order of the result.
        names: names of kinds; None: derived from the comparisons.

    Raises:
        ValueError: a column is missing.
    """
    rows = _finite_rows(comparisons)
    sides = [each for row in rows for each in _kinds_compared(row)]
    return tuple(_judge_claim(rows, claim, names or name_kinds(sides, {})) for claim in claims)


def compared_objectives(comparisons: pa.Table) -> frozenset[str]:
    """Objectives whose unlabelled encoders occur in the comparisons; ValueError as in `judge_claims`."""
    sides = [each for row in _finite_rows(comparisons) for each in _kinds_compared(row)]
    return frozenset(each.objective for each in sides if each.is_unlabelled)


def _kinds_compared(row: Mapping[str, Any]) -> tuple[Kind, Kind]:
    return Kind.from_row(row, "_a"), Kind.from_row(row, "_b")


def _finite_rows(comparisons: pa.Table) -> list[dict[str, Any]]:
    """Rows with a finite interval; other rows carry no evidence."""
    missing = sorted(set(schema.COMPARISON.names) - set(comparisons.column_names))
    if missing:
        raise ValueError(f"the comparisons lack the columns {', '.join(missing)}; create them with `herbray evaluate`")
    rows: list[dict[str, Any]] = comparisons.select(schema.COMPARISON.names).to_pylist()
    return [row for row in rows if all(math.isfinite(row[name]) for name in ("difference", "low", "high"))]


def _judge_claim(rows: Sequence[Mapping[str, Any]], claim: Claim, names: Mapping[str, str]) -> Judgement:
    bearing = [(m, row) for m in claim.measures for row in rows if m.covers(row)]
    found = [(m, row, first) for m, row in bearing if (first := _is_better_first(row, claim)) is not None]
    alike = [(m, row, first) for m, row, first in found if _have_same_start(*_kinds_compared(row))]
    many = Counter((m, row["split"], row["level"], row["init_a"]) for m, row, _ in alike)
    judged = []
    for measure, row, first in alike:
        one = _judge_comparison(measure, row, first)
        if many[measure, one.split, one.level, one.start] > 1:
            better, worse = (names[row[f"kind_{end}"]] for end in ("ab" if first else "ba"))
            one = replace(one, start=f"{one.start}: {better} and {worse}")
        judged.append(one)
    judged.sort(key=lambda one: _sort_key(one, claim.measures))
    words = _count_verdicts(judged) if judged else ("no start weights in common" if found else "not measured")
    return Judgement(claim, tuple(judged), words)


def _is_better_first(row: Mapping[str, Any], claim: Claim) -> bool | None:
    """Whether the first of the two kinds has the better objective of the claim; None if the row is of another claim."""
    a, b = (_objective_of(each) for each in _kinds_compared(row))
    return a == claim.better if {a, b} == {claim.better, claim.worse} else None


def _objective_of(kind: Kind) -> str | None:
    """The objective of a kind; None for a training with a label. Untrained kinds count whatever their name."""
    return kind.objective if kind.is_unlabelled or not kind.is_trained else None


def _have_same_start(one: Kind, other: Kind) -> bool:
    """For two trained kinds: whether their start weights are equal. Else: whether one was trained from the other."""
    if one.is_trained and other.is_trained:
        return one.start_kind[: schema.WEIGHTS_DIGITS] == other.start_kind[: schema.WEIGHTS_DIGITS]
    return one.start_kind == other.start_kind


def _judge_comparison(measure: Measure, row: Mapping[str, Any], a_first: bool) -> JudgedComparison:
    sign = 100 if a_first != row["lower_is_better"] else -100
    low, high = sorted((sign * row["low"], sign * row["high"]))
    verdict: Verdict = "undecided"
    if row["better"] in ("a", "b"):
        verdict = "agrees" if (row["better"] == "a") == a_first else "disagrees"
    seeds = (row["seeds_a"], row["seeds_b"]) if a_first else (row["seeds_b"], row["seeds_a"])
    place = row["split"], row["level"], row["init_a"]
    return JudgedComparison(measure, *place, sign * row["difference"], low, high, row["specimens"], seeds, verdict)


def _sort_key(one: JudgedComparison, measures: Sequence[Measure]) -> tuple[Any, ...]:
    return measures.index(one.measure), split_order(one.split), level_order(one.level), one.start


def _count_verdicts(judged: Sequence[JudgedComparison]) -> str:
    """E.g. "agrees in 3, disagrees in 1, undecided in 2 of 6 comparisons"."""
    counts, total = Counter(one.verdict for one in judged), len(judged)
    parts = [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]
    if len(parts) == 1:
        return f"{parts[0][0]} in {_ALL_OF.get(total, f'all {total} comparisons')}"
    return f"{', '.join(f'{verdict} in {count}' for verdict, count in parts)} of {total} comparisons"
