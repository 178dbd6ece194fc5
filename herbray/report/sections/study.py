"""Walker et al. 2022 and ours side by side: the sets, how each network was trained, and the orderings reported."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from herbray.console.redact import redact
from herbray.report.claims import CLAIMS, OBJECTIVES, STARTS, Judgement, compared, judge
from herbray.report.content import EncoderNote, note_order
from herbray.report.figures.drawing import Drawing
from herbray.report.figures.forest import forest
from herbray.report.scores import split_name
from herbray.report.sections.archive import SplitRow
from herbray.report.text import clean

_SIZES: Final = {"train": 424_544, "validation": 106_136, "herbarium": 139_529, "species": 62_997, "random": 58_886}
"""Images of each set of the study, its Table 1."""

_MOST_VALUES: Final = 4  # of one setting that differs between runs

_NAMES: Final = {"resnet18": "ResNet-18", "adam": "Adam", "adamw": "AdamW", "imagenet": "ImageNet"}  # as papers write


@dataclass(frozen=True)
class SetRow:
    """One set: its size in the study and here, and its shares of the five; None where we have no such set."""

    name: str
    paper: int
    paper_share: float
    ours: SplitRow | None
    our_share: float


@dataclass(frozen=True)
class SettingRow:
    """One setting: of each objective the study's value and ours."""

    label: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Study:
    """The section of the page.

    Attributes:
        sets: Table 1.
        objectives: the columns of Table 2.
        settings: the rows of Table 2.
        claims: the study's orderings, judged.
        starts: training against its own start weights, judged; empty where no baseline was compared.
        figure: None where no claim could be judged.
        one_seed: whether a compared encoder was trained only once.
    """

    sets: tuple[SetRow, ...]
    objectives: tuple[str, ...]
    settings: tuple[SettingRow, ...]
    claims: tuple[Judgement, ...]
    starts: tuple[Judgement, ...]
    figure: Drawing | None
    one_seed: bool


def study(
    comparisons: pa.Table | None,
    encoders: Sequence[EncoderNote],
    splits: Iterable[SplitRow],
    name: str,
    names: Mapping[str, str] | None = None,
) -> Study | None:
    """The study beside ours; None unless two of its objectives were compared.

    Args:
        comparisons: `schema.COMPARISON`, or None.
        encoders: all that the page describes.
        splits: our table of sizes.
        name: of the figure, unique in the page.
        names: of kinds; None: they are named by themselves.

    Raises:
        ValueError: the comparisons lack a column.
    """
    if comparisons is None or len(compared(comparisons) & set(OBJECTIVES)) < 2:
        return None
    claims = judge(comparisons, CLAIMS, names)
    starts = tuple(one for one in judge(comparisons, STARTS, names) if one.rows)
    return Study(
        sets=_sets(splits),
        objectives=OBJECTIVES,
        settings=tuple(_setting(one, encoders) for one in _SETTINGS),
        claims=claims,
        starts=starts,
        figure=forest(claims, name),
        one_seed=any(1 in row.seeds for one in claims for row in one.rows),
    )


def _sets(splits: Iterable[SplitRow]) -> tuple[SetRow, ...]:
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
    """A row of Table 2: what the study did, by objective, and how ours is read; "" where it is not recorded."""

    label: str
    paper: Mapping[str, str]
    ours: Callable[[EncoderNote], str]


def _setting(one: _Setting, encoders: Iterable[EncoderNote]) -> SettingRow:
    notes = sorted(encoders, key=note_order)
    values = [
        (one.paper[objective], _distinct(one.ours(note) for note in notes if _unlabelled(note, objective)))
        for objective in OBJECTIVES
    ]
    return SettingRow(one.label, tuple(values))


def _unlabelled(note: EncoderNote, objective: str) -> bool:
    """A training with a label is an experiment of its own."""
    return note.identity.model == note.identity.objective == objective


def _distinct(values: Iterable[str]) -> str:
    """Every value once, in order of appearance; a dash where there is none."""
    found = list(dict.fromkeys(value for value in values if value))
    beyond = [f"{len(found) - _MOST_VALUES} more"] if len(found) > _MOST_VALUES else []
    return "; ".join([*found[:_MOST_VALUES], *beyond]) or "–"


def _at(note: EncoderNote, path: str) -> Any:  # noqa: ANN401  (settings are of any kind)
    """The setting at a dotted path; None where it was not recorded."""
    value: Any = note.settings
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    """A setting as the page writes it: numbers short, everything else as untrusted text."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return _NAMES.get(str(value), clean(redact(str(value)), 60))


def _named(note: EncoderNote, *parts: tuple[str, str]) -> str:
    """The settings at these paths that were recorded, each in its words: (path, words with {} for the value)."""
    found = [(_text(_at(note, path)), words) for path, words in parts]
    return ", ".join(words.format(text) for text, words in found if text)


def _plain(path: str, words: str = "{}") -> Callable[[EncoderNote], str]:
    return lambda note: _named(note, (path, words))


def _with(first: str, path: str, words: str) -> Callable[[EncoderNote], str]:
    """A setting, and behind it another where that is not 0."""
    return lambda note: _named(note, (first, "{}"), *([(path, words)] if _at(note, path) else []))


def _normalised(note: EncoderNote) -> str:
    return _either(note, "encoder.normalise", "ImageNet's mean and deviation", "no, in [0, 1]")


def _either(note: EncoderNote, path: str, yes: str, no: str) -> str:
    value = _at(note, path)
    return (yes if value else no) if isinstance(value, bool) else ""


def _network(note: EncoderNote) -> str:
    arch = _text(_at(note, "encoder.arch"))
    return f"{arch}, 3×3 stem without max-pool" if _at(note, "encoder.stem") == "cifar" else arch


def _loss(note: EncoderNote) -> str:
    if not note.settings:
        return ""
    if note.identity.model != "triplet":
        return {"classifier": "cross-entropy", "autoencoder": "mean square of pixels"}[note.identity.model]
    vectors = _either(note, "objective.normalise", "unit vectors", "raw vectors")
    published = _at(note, "objective.mining") == "published"
    mining = "no mining, as published" if published else _named(note, ("objective.mining", "mining {}"))
    margin = _named(note, ("objective.margin", "margin {}, Euclidean"))
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
    return _named(note, *_HEADS[note.identity.model])


def _same(value: str) -> dict[str, str]:
    return dict.fromkeys(OBJECTIVES, value)


_SETTINGS: Final = (
    _Setting(
        "start weights",
        {"classifier": "ImageNet", "triplet": "ImageNet", "autoencoder": "autoencoder of CIFAR-10"},
        lambda note: _text(note.identity.init),
    ),
    _Setting(
        "network",
        _same("ResNet-18") | {"autoencoder": "ResNet-18, 3×3 stem without max-pool"},
        _network,
    ),
    _Setting("representation", _same("512 numbers, average pool"), _plain("dim", "{} numbers")),
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
        "head, thrown away",
        {
            "classifier": "hidden 512, dropout 0.25, then 0.5",
            "triplet": "none",
            "autoencoder": "latent 256, decoder's last stage 64 wide",
        },
        _head,
    ),
    _Setting("optimiser", _same("Adam"), _with("optimizer.name", "optimizer.weight_decay", "weight decay {}")),
    _Setting(
        "learning rate", {"classifier": "0.001", "triplet": "0.001", "autoencoder": "0.0001"}, _plain("optimizer.lr")
    ),
    _Setting("schedule", _same("constant"), _with("optimizer.schedule", "optimizer.warmup", "warm-up {} of all steps")),
    _Setting(
        "batch, on each worker",
        _same("32 images") | {"triplet": "32 triplets"},
        _with("stream.batch", "objective.rivals", "{} of them negatives alone"),
    ),
    _Setting("epochs", _same("25"), _plain("epochs")),
    _Setting("input, pixels", _same("256"), _plain("encoder.size")),
    _Setting("pixels normalised", _same("no, in [0, 1]"), _normalised),
    _Setting("precision", _same("float32"), _plain("precision")),
    _Setting("checkpoint used", _same("last"), _plain("keep")),
    _Setting("seed", _same("89"), lambda note: str(note.identity.seed)),
)
"""Table 2 of the study, with what else its code tells of the training."""
