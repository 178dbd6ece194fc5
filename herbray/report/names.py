"""Names of encoders for people: as short as they can be while no two kinds on a page read alike."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from herbray import schema
from herbray.console.redact import redact
from herbray.report.text import clean

_MOST_SETTINGS: Final = 2
"""Of the settings in which kinds differ, that a name tells."""

Settings = Mapping[str, Mapping[str, Any]]
"""The settings of each kind, as a tree."""


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of encoder, as the columns of results tell it."""

    model: str
    init: str
    kind: str
    objective: str
    start_kind: str

    @classmethod
    def of(cls, row: Mapping[str, Any], end: str = "") -> Self:
        """The kind in a row of results, or at the end "_a" or "_b" of a row of comparisons."""
        return cls(**{each.name: row[f"{each.name}{end}"] for each in fields(cls)})

    @property
    def trained(self) -> bool:
        """Whether herbray trained it."""
        return self.objective != schema.UNTRAINED

    @property
    def unlabelled(self) -> bool:
        """Whether it is called by its objective: a label marks an experiment of its own."""
        return self.model == self.objective


def name_kinds(kinds: Iterable[Kind], settings: Settings) -> dict[str, str]:
    """A name for each kind: its model, and what tells it from other kinds of that model.

    That is the start weights where those differ, then up to two settings, else the beginning of the kind itself.

    Args:
        kinds: all that are shown together.
        settings: of kinds, where they are known.
    """
    ordered = sorted({each.kind: each for each in sorted(kinds, reverse=True)}.values())
    parts: dict[str, list[str]] = {each.kind: [] for each in ordered}
    for alike in _groups(ordered, [each.model for each in ordered]):
        if len({each.init for each in alike}) > 1:
            for each in alike:
                parts[each.kind].append(clean(each.init.removeprefix("models:/"), 40))
    for alike in _groups(ordered, [(each.model, *parts[each.kind]) for each in ordered]):
        for each, more in zip(alike, _differences([settings.get(each.kind, {}) for each in alike]), strict=True):
            parts[each.kind] += more
    names = {each.kind: _joined(each.model, parts[each.kind]) for each in ordered}
    many = Counter(names.values())
    return {
        each.kind: names[each.kind]
        if many[names[each.kind]] == 1
        else _joined(each.model, [*parts[each.kind], each.kind[-6:]])
        for each in ordered
    }


def name_encoders(encoders: Sequence[schema.Identity], names: Mapping[str, str]) -> dict[str, str]:
    """A name for each encoder, by its fingerprint: its kind's, with the seed where a kind has several encoders.

    Args:
        encoders: that are shown together.
        names: of their kinds.
    """
    many = Counter(each.kind for each in encoders)
    found = {
        each.encoder: names[each.kind] if many[each.kind] == 1 else f"{names[each.kind]}, seed {each.seed}"
        for each in encoders
    }
    alike = Counter(found.values())
    return {encoder: name if alike[name] == 1 else f"{name}, {encoder[:6]}" for encoder, name in found.items()}


def _groups(kinds: Sequence[Kind], keys: Sequence[object]) -> list[list[Kind]]:
    """Kinds of equal keys; those that are alone with theirs are left out."""
    found: dict[object, list[Kind]] = {}
    for each, key in zip(kinds, keys, strict=True):
        found.setdefault(key, []).append(each)
    return [group for group in found.values() if len(group) > 1]


def _joined(model: str, parts: Collection[str]) -> str:
    return f"{clean(model)} ({', '.join(parts)})" if parts else clean(model)


def _differences(trees: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """For each tree the settings in which the trees differ, if these are few: "lr=0.01"."""
    flat = [dict(_flat(tree)) for tree in trees]
    paths = sorted({path for tree in flat for path in tree})
    differing = [path for path in paths if len({tree.get(path, "not set") for tree in flat}) > 1]
    if len(differing) > _MOST_SETTINGS:
        return [[] for _ in trees]
    last = Counter(path.rpartition(".")[2] for path in differing)
    short = {path: name if last[name := path.rpartition(".")[2]] == 1 else path for path in differing}
    return [[f"{short[path]}={tree.get(path, 'not set')}" for path in differing] for tree in flat]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)  # as settings write it
            yield f"{prefix}{name}", clean(redact(text), 40)
