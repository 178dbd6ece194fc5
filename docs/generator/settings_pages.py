"""The reference of settings: every key of every job, with its type, default and description, read from the models."""

import importlib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import annotated_types
from pydantic_core import PydanticUndefined

from herbray import cli
from herbray.config import Spec
from herbray.flow.sweep.search_space import AnyRange
from herbray.settings import help_texts

ALIASES: Final = {"demo": "study"}
"""Verb → the verb whose settings it shares."""

_NAMES: Final = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
_RANGES: Final = typing.get_args(AnyRange)
"""Written as text: `uniform(0, 1)`."""

_BOUNDS: Final = (
    (annotated_types.Gt, "gt", "> {}"),
    (annotated_types.Ge, "ge", "≥ {}"),
    (annotated_types.Lt, "lt", "< {}"),
    (annotated_types.Le, "le", "≤ {}"),
    (annotated_types.MultipleOf, "multiple_of", "multiple of {}"),
)


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        path: dotted, as in an override; `[]` marks an item of a list, `NAME` a key that the user chooses.
        type: in words.
        default: as in YAML; empty for a group of settings.
        description: one phrase.
        alternative: "objective.name: triplet" where the setting exists for one choice alone, else empty.
    """

    path: str
    type: str
    default: str
    description: str
    alternative: str = ""


def spec_of(verb: str) -> type[Spec]:
    """The class of a verb's settings."""
    module, kind, _, _ = cli.VERBS[verb]
    found: type[Spec] = getattr(importlib.import_module(module), kind)
    return found


def keys(verb: str) -> list[Key]:
    """Every key of a verb's settings, in the order of the class."""
    shared = {spec_of(other): other for other in cli.VERBS if other not in ALIASES and other != verb}
    return list(_keys(spec_of(verb), "", None, "", shared))


def pages() -> dict[str, str]:
    """File name → Markdown, one page a verb."""
    return {f"{verb}.md": page(verb) for verb in cli.VERBS if verb not in ALIASES}


def page(verb: str) -> str:
    """A verb's page: what it does, how it is called, its keys, and those of each alternative."""
    found = keys(verb)
    title = " and ".join(f"herbray {name}" for name in (verb, *(a for a, of in ALIASES.items() if of == verb)))
    parts = [f"# {title}", cli.VERBS[verb][3], f"```sh\nherbray {verb} {help_texts.EXAMPLES[verb]}\n```"]
    parts += [_prose(spec_of(verb)), "## Settings", *_table([key for key in found if not key.alternative])]
    for alternative in dict.fromkeys(key.alternative for key in found if key.alternative):
        parts += [f"## `{alternative}`", *_table([key for key in found if key.alternative == alternative])]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Key]) -> list[str]:
    lines = ["| key | type | default | description |", "|---|---|---|---|"]
    for row in rows:
        default = f"`{row.default}`" if row.default not in ("", "required") else row.default
        cells = (f"`{row.path}`", row.type, default, row.description)
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return ["\n".join(lines)]


def _keys(
    kind: type[Spec], prefix: str, given: Spec | None, alternative: str, shared: Mapping[type[Spec], str]
) -> Iterator[Key]:
    """The keys of a class of settings; `given` holds the values that are the defaults here."""
    described = attributes(kind)
    for name, field in kind.model_fields.items():
        value = getattr(given, name) if given is not None else _default(field)
        words = field.description or described.get(name, "").rstrip(".")
        if _is_tag(field.annotation):
            words = "selects this alternative"
        path = f"{prefix}{name}"
        inner = _specs(field.annotation)
        if not inner:
            shown = _constrained(field.annotation, field.metadata)
            yield Key(path, shown, yaml_text(value), words, alternative)
            continue
        yield from _group(path, field, inner, value, words, alternative, shared)


def _group(
    path: str,
    field: Any,  # noqa: ANN401  (pydantic's FieldInfo)
    inner: Sequence[type[Spec]],
    value: object,
    words: str,
    alternative: str,
    shared: Mapping[type[Spec], str],
) -> Iterator[Key]:
    """A key that holds settings of its own: the key, then these, or a link to the page that has them."""
    below = path + _container(field.annotation)
    default = yaml_text(value) if not isinstance(value, Spec) else _label(type(value)) if len(inner) > 1 else ""
    links = [f"[the keys of `{shared[kind]}`]({shared[kind]}.md)" for kind in inner if kind in shared]
    told = "; ".join([words or _first_sentence(inner[0]), *links])
    yield Key(path, _type(field.annotation), default, told, alternative)
    for kind in inner:
        if kind in shared:
            continue
        here = alternative
        if len(inner) > 1:
            here = f"{below}.{_label(kind)}"
        known = value if isinstance(value, kind) else None
        yield from _keys(kind, f"{below}.", known, here, shared)


def _label(kind: type[Spec]) -> str:
    """What picks a class among alternatives: "name: triplet", or the class's name."""
    for tag in ("name", "kind"):
        if tag in kind.model_fields and (values := typing.get_args(kind.model_fields[tag].annotation)):
            return f"{tag}: {values[0]}"
    return kind.__name__.lower()


def _is_tag(annotation: object) -> bool:
    return typing.get_origin(annotation) is typing.Literal and len(typing.get_args(annotation)) == 1


def _container(annotation: object) -> str:
    """`[]` for a list of settings, `.NAME` for a mapping to settings, else nothing."""
    for part in _flattened(annotation):
        origin = typing.get_origin(part)
        if origin in (tuple, list):
            return "[]"
        if origin is dict:
            return ".NAME"
    return ""


def _flattened(annotation: object) -> Iterator[object]:
    """The members of a union, without `Annotated`; else the type itself."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _flattened(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _flattened(part)
    else:
        yield annotation


def _specs(annotation: object) -> list[type[Spec]]:
    """The classes of settings that a value may hold, in order, each once."""
    found: dict[type[Spec], None] = {}
    for part in _flattened(annotation):
        if inspect.isclass(part) and typing.get_origin(part) is None and issubclass(part, Spec) and part not in _RANGES:
            found[part] = None
        for inner in typing.get_args(part) if typing.get_origin(part) is not typing.Literal else ():
            found |= dict.fromkeys(_specs(inner))
    return list(found)


def _type(annotation: object) -> str:
    """A type in words."""
    if typing.get_origin(annotation) is typing.Annotated:
        base, *metadata = typing.get_args(annotation)
        return _constrained(base, [*metadata, *(m for each in metadata for m in getattr(each, "metadata", ()))])
    parts = list(dict.fromkeys(_word(part) for part in _union(annotation)))
    return ", or ".join([part for part in parts if part != "null"] + [part for part in parts if part == "null"])


def _union(annotation: object) -> Sequence[object]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _word(part: Any) -> str:  # noqa: ANN401  (annotations have no common type)
    origin, inner = typing.get_origin(part), typing.get_args(part)
    if origin is typing.Annotated:
        return _type(part)
    if part is type(None):
        return "null"
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (tuple, list):
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"mapping of names to {_type(inner[1])}"
    if part in _RANGES:
        return "[ranges](../how-to/sweep.md#what-is-searched)"
    if inspect.isclass(part) and issubclass(part, Spec):
        return "settings"
    return _NAMES.get(part, "any value")


def _constrained(annotation: object, metadata: Sequence[object]) -> str:
    """A type in words with its bounds, which belong to the first member of a union."""
    told = [form.format(getattr(m, key)) for m in metadata for bound, key, form in _BOUNDS if isinstance(m, bound)]
    first, separator, rest = _type(annotation).partition(", or ")
    return " ".join(part for part in (first, ", ".join(told), _length(first, metadata)) if part) + separator + rest


def _length(shown: str, metadata: Sequence[object]) -> str:
    """How many items or characters a value may have: "(at least 1 item)"."""
    least = next((m.min_length for m in metadata if isinstance(m, annotated_types.MinLen)), None)
    most = next((m.max_length for m in metadata if isinstance(m, annotated_types.MaxLen)), None)
    unit = "item" if shown.startswith("list") else "character"
    if least is not None and most is not None:
        return f"({least} to {most} {unit}s)" if least < most else f"({least} {unit}{'s' * (least > 1)})"
    if least is None and most is None:
        return ""
    count = most if least is None else least
    return f"(at {'most' if least is None else 'least'} {count} {unit}{'s' * (count != 1)})"


def _default(field: Any) -> object:  # noqa: ANN401  (pydantic's FieldInfo)
    if field.default_factory in (dict, list, tuple):
        return field.default_factory()
    return "depends on the machine" if field.default_factory else field.default


def yaml_text(value: object) -> str:
    """A default as one writes it in YAML; a list of alternatives by their names."""
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(yaml_text(each) for each in value) + "]"
    if isinstance(value, Spec):
        told = value.model_dump(mode="json", exclude_unset=True) or {"name": getattr(value, "name", "")}
        return "{" + ", ".join(f"{key}: {yaml_text(each)}" for key, each in told.items()) + "}"
    return str(value) or '""'


def attributes(kind: type[Spec]) -> dict[str, str]:
    """Field → its line below `Attributes:` in the docstrings of a class and its parents."""
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if not issubclass(parent, Spec) or "__doc__" not in vars(parent):
            continue
        _, _, text = (inspect.getdoc(parent) or "").partition("Attributes:\n")
        for name, words in re.findall(r"^ {4}(\w+): (.+(?:\n {8,}.+)*)", text, re.M):
            found[name] = " ".join(words.split())
    return found


def _prose(kind: type[Spec]) -> str:
    """A class's docstring less its list of attributes."""
    text, _, _ = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    return text.strip()


def _first_sentence(kind: type[Spec]) -> str:
    return " ".join(_prose(kind).partition("\n\n")[0].split()).rstrip(".")
