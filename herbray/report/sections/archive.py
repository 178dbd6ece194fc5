"""The data as shown on the page: counts, splits, institutions, families and refused inputs."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.report.scores import split_name, split_order
from herbray.report.text import clean

_MOST_BARS = 12
_MOST_REFUSED = 50
_KNOWN = {"input", "ok", "quarantined", "skipped"}


@dataclass(frozen=True)
class Bar:
    """A name with its count; the length of its bar is in per cent of the largest count."""

    name: str
    count: int
    length: float


@dataclass(frozen=True)
class SplitRow:
    """One row of the table of splits; None if unknown."""

    name: str
    meaning: str
    rows: int
    share: float
    genera: int | None
    families: int | None
    institutions: int | None


_MEANING = {
    "train": "used to train the encoders",
    "validation": "used to choose checkpoints; no scores are reported on this split",
    "herbarium": "sheets of institutions that are not in the training data",
    "species": "species that are not in the training data, of genera that are",
    "random": "held out at random from the remaining specimens",
    "unused": "left out, e.g. genera with too few training images",
}


def split_rows(manifest: Mapping[str, Any], specimens: pa.Table) -> list[SplitRow]:
    """The table of splits: sizes from the manifest; genera, families and institutions from embedded specimens."""
    sizes = {str(name): rows for name, rows in _as_mapping(manifest.get("splits")).items() if isinstance(rows, int)}
    labels = _as_mapping(manifest.get("labels")) if manifest.get("rank") == "genus" else {}
    total = sum(sizes.values()) or 1
    rows = []
    for split in sorted(sizes, key=split_order):
        inside = specimens.filter(pc.field("split") == split)
        known = labels.get(split)
        rows.append(
            SplitRow(
                name=split_name(split),
                meaning=_MEANING.get(split, ""),
                rows=sizes[split],
                share=sizes[split] / total,
                genera=known if isinstance(known, int) else _count_distinct(inside, "genus"),
                families=_count_distinct(inside, "family"),
                institutions=_count_distinct(inside, "institution"),
            )
        )
    return rows


def _as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count_distinct(specimens: pa.Table, column: str) -> int | None:
    return pc.count_distinct(specimens[column]).as_py() if specimens.num_rows else None


def unique_specimens(embeddings: Mapping[str, pa.Table]) -> pa.Table:
    """Every embedded specimen once, without embeddings, even if several models embedded it."""
    columns = ("specimen_id", "order", "family", "genus", "institution", "split")
    found = pa.table({name: pa.array([], pa.string()) for name in columns})
    for model in sorted(embeddings):
        table = embeddings[model].select(columns)
        new = pc.invert(pc.is_in(table["specimen_id"], value_set=found["specimen_id"]))
        found = pa.concat_tables([found, table.filter(new).cast(found.schema)])
    return found


def read_taxonomy(specimens: pa.Table) -> dict[str, tuple[str | None, str | None]]:
    """Family and order of each genus; the most frequent ones if sheets disagree."""
    names = specimens.group_by(["genus", "family", "order"]).aggregate([([], "count_all")]).to_pylist()
    names.sort(key=lambda row: (row["count_all"], str((row["family"], row["order"]))))
    return {row["genus"]: (row["family"], row["order"]) for row in names if row["genus"] is not None}


def count_bars(specimens: pa.Table, column: str) -> list[Bar]:
    """Bars of the most frequent values of a column, one bar for the others, and one for unknown values."""
    totals = {row["values"]: row["counts"] for row in pc.value_counts(specimens[column]).to_pylist()}
    unknown = totals.pop(None, 0)
    ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    shown = [(clean(name, 40), count) for name, count in ranked[:_MOST_BARS]]
    if len(ranked) > _MOST_BARS:
        shown.append((f"{len(ranked) - _MOST_BARS} more", sum(count for _, count in ranked[_MOST_BARS:])))
    if unknown:
        shown.append(("unknown", unknown))
    longest = max((count for _, count in shown), default=1)
    return [Bar(name, count, round(100 * count / longest, 1)) for name, count in shown]


def read_counts(manifest: Mapping[str, Any]) -> dict[str, int]:
    """The integer counts of the manifest: input, ok, quarantined, skipped, then others by name."""
    found = {str(key): value for key, value in _as_mapping(manifest.get("counts")).items() if isinstance(value, int)}
    order = ["input", "ok", "quarantined", "skipped", *sorted(set(found) - _KNOWN)]
    return {key: found[key] for key in order if key in found}


@dataclass(frozen=True)
class QuarantineSummary:
    """The quarantine as shown on the page: reasons with counts, the first rows, and the total number of rows."""

    reasons: tuple[tuple[str, str, int, str], ...]  # stage, reason, count, an example's detail
    rows: tuple[tuple[str, str, str, str, str], ...]  # specimen, image, stage, reason, detail
    total: int


def summarise_quarantine(quarantine: pa.Table) -> QuarantineSummary:
    """Summarise `schema.QUARANTINE` rows; the result does not depend on their order.

    Raises:
        ValueError: a column is missing.
    """
    missing = sorted(set(schema.QUARANTINE.names) - set(quarantine.column_names))
    if missing:
        raise ValueError(f"the quarantine table lacks the columns {', '.join(missing)}")
    keys = ("stage", "reason", "specimen_id", "image", "detail")
    rows = sorted([row[key] or "" for key in keys] for row in quarantine.to_pylist())
    reasons = Counter((stage, reason) for stage, reason, *_ in rows)
    examples = {(row[0], row[1]): row[4] for row in reversed(rows)}
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return QuarantineSummary(
        tuple(
            (clean(stage), clean(reason), count, clean(examples[stage, reason], 160))
            for (stage, reason), count in ranked
        ),
        tuple(
            (clean(specimen), _shorten_path(image), clean(stage), clean(reason), clean(detail, 160))
            for stage, reason, specimen, image, detail in rows[:_MOST_REFUSED]
        ),
        len(rows),
    )


def _shorten_path(image: str) -> str:
    """The last two parts of a path: enough to find the file, without the folders of this machine."""
    parts = [part for part in re.split(r"[/\\]", image) if part]
    return clean(("…/" if len(parts) > 2 else "") + "/".join(parts[-2:]), 80)
