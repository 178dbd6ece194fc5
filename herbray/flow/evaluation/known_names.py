"""Which names of a list are known to be wrong or right, by verdicts or by a true name, and how good the list is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from herbray.tasks import judged
from herbray.tasks.interface.embeddings import Indices, Mask
from herbray.tasks.judged import Share
from herbray.tasks.methods.units import gathering_codes
from herbray.verdicts.judgements import Judgement, Key, Matched


@dataclass(frozen=True, eq=False)
class KnownNames:
    """The names of a list that are known to be wrong or right.

    Attributes:
        places: [n] in the list, from 1.
        wrong: [n] whether the name is wrong.
        units: [n] a number for each gathering.
        by_verdict: number of names that reviewers decided; the others are known from a true name.
        length: of the list.
    """

    places: Indices
    wrong: Mask
    units: Indices
    by_verdict: int
    length: int


def find_known_names(
    listed: Sequence[Key],
    judgements: Mapping[Key, Judgement],
    specimens: Mapping[str, Mapping[str, Any]],
    use_truth: bool,
) -> KnownNames:
    """Find the decisions on the names of a list; "maybe" and disputed names are not decided.

    Args:
        listed: sheet, rank and name, in the order of the list.
        judgements: by sheet, rank and name.
        specimens: id → the columns of `schema.SPECIMEN`.
        use_truth: whether a true name counts where there is no verdict.
    """
    rows: list[tuple[int, bool, str | None]] = []
    by_verdict = 0
    for place, key in enumerate(listed, 1):
        row, judgement = specimens[key[0]], judgements.get(key)
        if judgement and judgement.verdict in ("wrong", "right"):
            rows.append((place, judgement.verdict == "wrong", row["gathering"]))
            by_verdict += 1
        elif use_truth and (truth := _true_name(row["true_species"], key[1])):
            rows.append((place, truth != key[2], row["gathering"]))
    places, wrong, gatherings = zip(*rows, strict=True) if rows else ((), (), ())
    return KnownNames(
        np.array(places, np.intp),
        np.array(wrong, bool),
        gathering_codes(np.array([*gatherings, None], dtype=object)[:-1]),
        by_verdict,
        len(listed),
    )


def _true_name(species: str | None, rank: str) -> str | None:
    if species is None or rank not in ("genus", "species"):
        return None
    return species if rank == "species" else species.split(" ")[0]


def describe_stretches(known: KnownNames) -> list[str]:
    """Lines on the share of wrong names down the list."""
    parts = judged.measure_stretches(known.places, known.wrong, known.units, known.length)
    return [f"Places {each.first:,} to {each.last:,}: {describe_share(each)}" for each in parts]


def describe_share(share: Share) -> str:
    """A share with its interval, as text."""
    wrong = round(share.value * share.judged)
    interval = f"{100 * share.low:.0f}–{100 * share.high:.0f} %"
    return f"{wrong:,} of {share.judged:,} checked names are wrong ({100 * share.value:.0f} %, interval {interval})"


def score_table(known: KnownNames, seed: int) -> pa.Table:
    """Precision at n and average precision: `metric`, `judged`, `gatherings`, `value`; the interval `low`, `high`."""
    rows = [
        {"metric": f"precision_at_{each.last}", **_numbers(each)}
        for each in judged.measure_precisions(known.places, known.wrong, known.units)
    ]
    if known.wrong.any():
        low, high = judged.resample_average_precision(known.places, known.wrong, known.units, seed)
        value = judged.measure_average_precision(known.places, known.wrong)
        sizes = {"judged": len(known.places), "gatherings": len(np.unique(known.units))}
        rows.append({"metric": "average_precision", **sizes, "value": value, "low": low, "high": high})
    floats = [(name, pa.float64()) for name in ("value", "low", "high")]
    return pa.Table.from_pylist(
        rows, pa.schema([("metric", pa.string()), ("judged", pa.int64()), ("gatherings", pa.int64()), *floats])
    )


def describe_scores(scores: pa.Table) -> list[str]:
    """One line for each score."""
    return [
        f"{row['metric']}: {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}), {row['judged']:,} judged names "
        f"of {row['gatherings']:,} gatherings"
        for row in scores.to_pylist()
    ]


def _numbers(share: Share) -> dict[str, Any]:
    return {name: getattr(share, name) for name in ("judged", "gatherings", "value", "low", "high")}


def describe_matched(found: Matched, path: Path) -> Iterator[str]:
    """Lines on the verdicts that do not hold for names of this collection, and on those that disagree."""
    if found.gone:
        yield f"{path}: {_count(found.gone)} of sheets that are not in these embeddings: they are kept, and not shown"
    if found.settled:
        yield f"{path}: {_count(found.settled)} of names that the sheets no longer have: settled"
    disputed = [key for key, each in found.current.items() if each.verdict == "disputed"]
    if disputed:
        yield f"{path}: reviewers disagree on {len(disputed):,} names, such as that of {disputed[0][0]!r}: not decided"


def _count(judgements: Collection[Key]) -> str:
    return f"{len(judgements):,} verdict{'' if len(judgements) == 1 else 's'}"
