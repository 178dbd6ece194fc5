"""Marks on the fields of a specification: what a setting is for, if it does not bear on what is learned.

A field without a mark bears on what is learned. Names of runs, cards, tracked parameters and search spaces follow from
the marks alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from herbray.config import Spec

Role = Literal["place", "conduct", "progress", "measure", "choice", "name"]
"""What a setting is for:

* place: where things lie. It is private: it is in no card and no tracked parameter.
* conduct: how the work is done: on how many workers, how often it is saved, how long it waits.
* progress: what the job tells while it works.
* measure: how validation is measured. It bears on the figures of a run.
* choice: which checkpoint of a run becomes its encoder.
* name: what the result is called.
"""

_REASONS: Final[Mapping[Role, str]] = {
    "place": "it says where things lie, not what is learned",
    "conduct": "it says how the work is done, not what is learned",
    "progress": "it says what is reported, not what is learned",
    "measure": "the score of all trials is measured alike",
    "choice": "the score of all trials is counted alike",
    "name": "trials are told apart by their numbers, and a sweep registers nothing",
}
"""Why a search space must not vary a field of a role."""


@dataclass(frozen=True)
class Mark:
    """Stands in `Annotated[...]` on a field of a `Spec`.

    Attributes:
        role: of the field and of all that it holds; None: it bears on what is learned.
        why: a search space must not vary it; empty: the reason of its role.
    """

    role: Role | None = None
    why: str = ""

    @property
    def reason(self) -> str:
        """Why a search space must not vary the field."""
        return self.why or (_REASONS[self.role] if self.role else "")


def mark_of(kind: type[Spec], field: str) -> Mark | None:
    """The mark of a field; None where it has none, or where there is no such field."""
    info = kind.model_fields.get(field)
    return next((each for each in info.metadata if isinstance(each, Mark)), None) if info else None


def mark_at(spec: Spec, path: str) -> Mark | None:
    """The mark of the setting at a dotted path: its own, or that of the field that holds it."""
    node: object = spec
    for name in path.split("."):
        if not isinstance(node, Spec):
            return None
        if mark := mark_of(type(node), name):
            return mark
        node = getattr(node, name, None)
    return None


def role_at(spec: Spec, path: str) -> Role | None:
    """The role of the setting at a dotted path; None: it bears on what is learned."""
    mark = mark_at(spec, path)
    return mark.role if mark else None


def dump_without(spec: Spec, *roles: Role) -> dict[str, Any]:
    """A specification as JSON values, less the fields of these roles; specifications in lists are left whole."""
    tree = spec.model_dump(mode="json")
    for name in type(spec).model_fields:
        mark, value = mark_of(type(spec), name), getattr(spec, name)
        if mark and mark.role in roles:
            del tree[name]
        elif isinstance(value, Spec):
            tree[name] = dump_without(value, *roles)
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted path."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
