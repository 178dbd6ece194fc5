"""Marks on the fields of a specification: the role of settings that do not affect what is learned.

A field without a mark affects what is learned. The marks alone decide which settings enter the names of runs, encoder
cards, tracked parameters and search spaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from herbray.config import Spec

Role = Literal["place", "conduct", "progress", "measure", "choice", "name"]
"""The role of a setting:

* place: where files are. Private: not in encoder cards or tracked parameters.
* conduct: how the job runs: number of workers, checkpoint interval, time limits.
* progress: what the job reports while it runs.
* measure: how validation is measured. Affects the figures of a run.
* choice: which checkpoint of a run becomes its encoder.
* name: what the result is called.
"""

_REASONS: Final[Mapping[Role, str]] = {
    "place": "it says where files are, not what is learned",
    "conduct": "it says how the job runs, not what is learned",
    "progress": "it says what is reported, not what is learned",
    "measure": "all trials must be scored in the same way",
    "choice": "all trials must choose their checkpoint in the same way",
    "name": "trials are identified by their numbers, and a sweep registers nothing",
}
"""Why a search space must not vary a field of a role."""


@dataclass(frozen=True)
class Mark:
    """A mark on a field of a `Spec`, in `Annotated[...]`.

    Attributes:
        role: of the field and the settings inside it; None: the field affects what is learned.
        why: a search space must not vary the field; empty: the reason that goes with the role.
    """

    role: Role | None = None
    why: str = ""

    @property
    def reason(self) -> str:
        """Why a search space must not vary the field."""
        return self.why or (_REASONS[self.role] if self.role else "")


def mark_of(kind: type[Spec], field: str) -> Mark | None:
    """The mark of a field; None if the field has none or does not exist."""
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
    """The role of the setting at a dotted path; None: the setting affects what is learned."""
    mark = mark_at(spec, path)
    return mark.role if mark else None


def dump_without(spec: Spec, *roles: Role) -> dict[str, Any]:
    """A specification as JSON values, without the fields of these roles; specifications in lists are kept complete."""
    tree = spec.model_dump(mode="json")
    for name in type(spec).model_fields:
        mark, value = mark_of(type(spec), name), getattr(spec, name)
        if mark and mark.role in roles:
            del tree[name]
        elif isinstance(value, Spec):
            tree[name] = dump_without(value, *roles)
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping from dotted paths to values."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values
