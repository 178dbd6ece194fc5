"""Comparison with Walker et al. 2022: data sets, training of each network, and reported rankings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from herbray.console.redact import redact
from herbray.report.claims import CLAIMS, OBJECTIVES, START_CLAIMS, Judgement, compared_objectives, judge_claims
from herbray.report.content import EncoderNote, note_order
from herbray.report.figures.drawing import Drawing
from herbray.report.figures.forest import draw_forest
from herbray.report.scores import split_name
from herbray.report.sections.archive import SplitRow
from herbray.report.text import clean

_SIZES: Final = {"train": 424_544, "validation": 106_136, "herbarium": 139_529, "species": 62_997, "random": 58_886}
"""Number of images in each set of the study (Table 1)."""

_MOST_VALUES: Final = 4  # maximum number of values shown for a setting

_NAMES: Final = {
    "adam": "Adam",
    "adamw": "AdamW",
    "imagenet": "ImageNet",
}  # spelling on the page


@dataclass(frozen=True)
class SetRow:
    """One set: size in the study and in this run, and shares of the five sets; None if this run lacks the set."""

    name: str
    paper: int
    paper_share: float
    ours: SplitRow | None
    our_share: float


@dataclass(frozen=True)
class SettingRow:
    """One setting: for each objective, the value of the study and of this run."""

    label: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StudySection:
    """The section of the page.

    Attributes:
        sets: rows of Table 1.
        objectives: columns of Table 2.
        settings: rows of Table 2.
        claims: judgements of the claims of the study.
        starts: judgements of training against its own start weights; empty if no baseline was compared.
        figure: forest plot; None if no claim could be judged.
        one_seed: whether a compared encoder was trained only once.
    """

    sets: tuple[SetRow, ...]
    objectives: tuple[str, ...]
    settings: tuple[SettingRow, ...]
    claims: tuple[Judgement, ...]
    starts: tuple[Judgement, ...]
    figure: Drawing | None
    one_seed: bool


def study_section(
    comparisons: pa.Table | None,
    encoders: Sequence[EncoderNote],
    splits: Iterable[SplitRow],
    name: str,
    names: Mapping[str, str] | None = None,
) -> StudySection | None:
    """Make the section; None unless at least two objectives of the study were compared.

    Args:
        comparisons: a `schema.COMPARISON` table, or None.
        encoders: notes of all encoders on the page.
        splits: the table of splits of this run.
        name: name of the figure, unique on the page.
        names: names of kinds; None: derived from the comparisons.

    Raises:
        ValueError: the comparisons lack a column.
    """
    if comparisons is None or len(compared_objectives(comparisons) & set(OBJECTIVES)) < 2:
        return None
    claims = judge_claims(comparisons, CLAIMS, names)
    starts = tuple(one for one in judge_claims(comparisons, START_CLAIMS, names) if one.rows)
    return StudySection(
        sets=_set_rows(splits),
        objectives=OBJECTIVES,
        settings=tuple(_setting_row(one, encoders) for one in _SETTINGS),
        claims=claims,
        starts=starts,
        figure=draw_forest(claims, name),
        one_seed=any(1 in row.seeds for one in claims for row in one.rows),
    )


def _set_rows(splits: Iterable[SplitRow]) -> tuple[SetRow, ...]:
    names = {split_name(split): size for split, size in _SIZES.items()}
    ours = {row.name: row for row in splits if row.name in names}
    total, our_total = sum(names.values()), sum(row.rows for row in ours.values()) or 1
    return tuple(
        SetRow(name, size, size / total, row, row.rows / our_total if row else 0.0)
        for name, size in names.items()
        for row in [ours.get(name)]
    )


@dataclass(frozen=True)
class _Setting:
    """A row of Table 2: the value of the study by objective, and a reader of our value, "" if not recorded."""

    label: str
    paper: Mapping[str, str]
    ours: Callable[[EncoderNote], str]


def _setting_row(one: _Setting, encoders: Iterable[EncoderNote]) -> SettingRow:
    notes = sorted(encoders, key=note_order)
    values = [
        (one.paper[objective], _join_distinct(one.ours(note) for note in notes if _is_unlabelled(note, objective)))
        for objective in OBJECTIVES
    ]
    return SettingRow(one.label, tuple(values))


def _is_unlabelled(note: EncoderNote, objective: str) -> bool:
    """Whether the training has no label; a label marks a separate experiment."""
    return note.identity.model == note.identity.objective == objective


def _join_distinct(values: Iterable[str]) -> str:
    """Every value once, in order of appearance; a dash if there is none."""
    found = list(dict.fromkeys(value for value in values if value))
    beyond = [f"{len(found) - _MOST_VALUES} more"] if len(found) > _MOST_VALUES else []
    return "; ".join([*found[:_MOST_VALUES], *beyond]) or "–"


def _read_setting(note: EncoderNote, path: str) -> Any:  # noqa: ANN401  (settings are of any kind)
    """The setting at a dotted path; None if not recorded."""
    value: Any = note.settings
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _write_setting(value: object) -> str:
    """A setting as written on the page: numbers in short form, everything else as untrusted text."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return _NAMES.get(str(value), clean(redact(str(value)), 60))


def _describe(note: EncoderNote, *parts: tuple[str, str]) -> str:
    """Describe the recorded settings among `parts`: (path, phrase with {} for the value)."""
    found = [(_write_setting(_read_setting(note, path)), words) for path, words in parts]
    return ", ".join(words.format(text) for text, words in found if text)


def _reader(path: str, words: str = "{}") -> Callable[[EncoderNote], str]:
    return lambda note: _describe(note, (path, words))


def _reader_of_two(first: str, path: str, words: str) -> Callable[[EncoderNote], str]:
    """A setting, followed by another setting unless that is 0."""
    return lambda note: _describe(note, (first, "{}"), *([(path, words)] if _read_setting(note, path) else []))


def _normalised(note: EncoderNote) -> str:
    return _either(note, "encoder.normalise", "ImageNet mean and deviation", "no, in [0, 1]")


def _either(note: EncoderNote, path: str, yes: str, no: str) -> str:
    value = _read_setting(note, path)
    return (yes if value else no) if isinstance(value, bool) else ""


def _network(note: EncoderNote) -> str:
    cifar = _read_setting(note, "encoder.stem") == "cifar"
    return f"{note.network}, 3×3 stem without max-pool" if cifar else note.network


def _loss(note: EncoderNote) -> str:
    if not note.settings:
        return ""
    if note.identity.model != "triplet":
        return {"classifier": "cross-entropy", "autoencoder": "mean square of pixels"}[note.identity.model]
    vectors = _either(note, "objective.normalise", "unit vectors", "raw vectors")
    published = _read_setting(note, "objective.mining") == "published"
    mining = "no mining, as published" if published else _describe(note, ("objective.mining", "mining {}"))
    margin = _describe(note, ("objective.margin", "margin {}, Euclidean"))
    return ", ".join(part for part in (margin, vectors, mining) if part)


_HEADS: Final = {
    "classifier": (
        ("objective.hidden", "hidden {}"),
        ("objective.dropout_features", "dropout {}"),
        ("objective.dropout_hidden", "then {}"),
    ),
    "autoencoder": (("objective.latent", "latent {}"), ("objective.width", "decoder's last stage {} wide")),
}


def _head(note: EncoderNote) -> str:
    if note.identity.model == "triplet":
        return "none" if note.settings else ""
    return _describe(note, *_HEADS[note.identity.model])


def _same_for_all(value: str) -> dict[str, str]:
    return dict.fromkeys(OBJECTIVES, value)


_SETTINGS: Final = (
    _Setting(
        "start weights",
        {"classifier": "ImageNet", "triplet": "ImageNet", "autoencoder": "autoencoder of CIFAR-10"},
        lambda note: _write_setting(note.identity.init),
    ),
    _Setting(
        "network",
        _same_for_all("ResNet-18") | {"autoencoder": "ResNet-18, 3×3 stem without max-pool"},
        _network,
    ),
    _Setting("representation", _same_for_all("512 numbers, average pool"), _reader("dim", "{} numbers")),
    _Setting(
        "loss",
        {
            "classifier": "cross-entropy, unweighted",
            "triplet": "margin 1, Euclidean, raw vectors, no mining",
            "autoencoder": "mean square of pixels",
        },
        _loss,
    ),
    _Setting(
        "head, discarded",
        {
            "classifier": "hidden 512, dropout 0.25, then 0.5",
            "triplet": "none",
            "autoencoder": "latent 256, decoder's last stage 64 wide",
        },
        _head,
    ),
    _Setting(
        "optimiser",
        _same_for_all("Adam"),
        _reader_of_two("optimizer.name", "optimizer.weight_decay", "weight decay {}"),
    ),
    _Setting(
        "learning rate", {"classifier": "0.001", "triplet": "0.001", "autoencoder": "0.0001"}, _reader("optimizer.lr")
    ),
    _Setting(
        "schedule",
        _same_for_all("constant"),
        _reader_of_two("optimizer.schedule", "optimizer.warmup", "warm-up {} of all steps"),
    ),
    _Setting(
        "batch per worker",
        _same_for_all("32 images") | {"triplet": "32 triplets"},
        _reader_of_two("stream.batch", "objective.rivals", "{} of which only as negatives"),
    ),
    _Setting("epochs", _same_for_all("25"), _reader("epochs")),
    _Setting("input size, pixels", _same_for_all("256"), _reader("encoder.size")),
    _Setting("pixels normalised", _same_for_all("no, in [0, 1]"), _normalised),
    _Setting("precision", _same_for_all("float32"), _reader("precision")),
    _Setting("checkpoint used", _same_for_all("last"), _reader("keep")),
    _Setting("seed", _same_for_all("89"), lambda note: str(note.identity.seed)),
)
"""Table 2 of the study, with further settings from its code."""
