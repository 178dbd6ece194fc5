"""Short names of encoders for people, unique on a page."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from herbray import schema
from herbray.console.redact import redact
from herbray.report.text import clean

_MOST_SETTINGS: Final = 2
"""Maximum number of differing settings that a name contains."""

Settings = Mapping[str, Mapping[str, Any]]
"""The settings of each kind, nested."""


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of encoder, as given by the columns of results."""

    model: str
    init: str
    kind: str
    objective: str
    start_kind: str

    @classmethod
    def from_row(cls, row: Mapping[str, Any], end: str = "") -> Self:
        """The kind in a row of results, or in the columns with suffix `end` ("_a" or "_b") of a row of comparisons."""
        return cls(**{each.name: row[f"{each.name}{end}"] for each in fields(cls)})

    @property
    def is_trained(self) -> bool:
        """Whether herbray trained the encoder."""
        return self.objective != schema.UNTRAINED

    @property
    def is_unlabelled(self) -> bool:
        """Whether the model is named after its objective; a label marks a separate experiment."""
        return self.model == self.objective


def name_kinds(kinds: Iterable[Kind], settings: Settings) -> dict[str, str]:
    """A name for each kind: its model, and what distinguishes it from other kinds of that model.

    The distinction is the start weights if they differ, then up to two settings, else the last digits of the kind.

    Args:
        kinds: all kinds that are shown together.
        settings: settings of the kinds, if known.
    """
    ordered = sorted({each.kind: each for each in sorted(kinds, reverse=True)}.values())
    parts: dict[str, list[str]] = {each.kind: [] for each in ordered}
    for alike in _group_alike(ordered, [each.model for each in ordered]):
        if len({each.init for each in alike}) > 1:
            for each in alike:
                parts[each.kind].append(clean(each.init.removeprefix("models:/"), 40))
    for alike in _group_alike(ordered, [(each.model, *parts[each.kind]) for each in ordered]):
        for each, more in zip(alike, _differing_settings([settings.get(each.kind, {}) for each in alike]), strict=True):
            parts[each.kind] += more
    names = {each.kind: _compose_name(each.model, parts[each.kind]) for each in ordered}
    many = Counter(names.values())
    return {
        each.kind: names[each.kind]
        if many[names[each.kind]] == 1
        else _compose_name(each.model, [*parts[each.kind], each.kind[-6:]])
        for each in ordered
    }


def name_encoders(encoders: Sequence[schema.Identity], names: Mapping[str, str]) -> dict[str, str]:
    """A name for each encoder, by fingerprint: the name of its kind, with the seed if the kind has several encoders.

    Args:
        encoders: all encoders that are shown together.
        names: names of their kinds.
    """
    many = Counter(each.kind for each in encoders)
    found = {
        each.encoder: names[each.kind] if many[each.kind] == 1 else f"{names[each.kind]}, seed {each.seed}"
        for each in encoders
    }
    alike = Counter(found.values())
    return {encoder: name if alike[name] == 1 else f"{name}, {encoder[:6]}" for encoder, name in found.items()}


def _group_alike(kinds: Sequence[Kind], keys: Sequence[object]) -> list[list[Kind]]:
    """Groups of two or more kinds with equal keys."""
    found: dict[object, list[Kind]] = {}
    for each, key in zip(kinds, keys, strict=True):
        found.setdefault(key, []).append(each)
    return [group for group in found.values() if len(group) > 1]


def _compose_name(model: str, parts: Collection[str]) -> str:
    return f"{clean(model)} ({', '.join(parts)})" if parts else clean(model)


def _differing_settings(trees: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """For each tree, the settings in which the trees differ, such as "lr=0.01"; empty if there are too many."""
    flat = [dict(_flatten(tree)) for tree in trees]
    paths = sorted({path for tree in flat for path in tree})
    differing = [path for path in paths if len({tree.get(path, "not set") for tree in flat}) > 1]
    if len(differing) > _MOST_SETTINGS:
        return [[] for _ in trees]
    last = Counter(path.rpartition(".")[2] for path in differing)
    short = {path: name if last[name := path.rpartition(".")[2]] == 1 else path for path in differing}
    return [[f"{short[path]}={tree.get(path, 'not set')}" for path in differing] for tree in flat]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)  # as in the settings file
            yield f"{prefix}{name}", clean(redact(text), 40)
