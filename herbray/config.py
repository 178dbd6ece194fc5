"""Configuration: one frozen, typed object per job, from YAML and dotted overrides; all errors are reported at once."""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from herbray import storage
from herbray.settings import strict_yaml
from herbray.settings.root import place_under, read_root
from herbray.storage.address import iter_texts, refuse_credentials

PRESETS: Final = Path(__file__).with_name("presets")
"""Folder of the presets: `preset: NAME` stands for the settings in NAME.yaml."""

_MAX_FAULTS: Final = 20  # in one error message
_MAX_CHARACTERS: Final = 80  # of a value, or of an override, in an error message

MISSING: Final = "missing; it has no default"
"""The error message for a required setting that is missing."""


class ConfigError(ValueError):
    """An invalid configuration; the message lists every fault with its dotted path."""


class Spec(BaseModel):
    """Base of every configuration object: frozen, unknown keys are refused, defaults are validated too.

    The key `preset` takes defaults from a named preset; other keys take precedence. The key itself is not kept: `dump`
    writes the settings that it stands for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, tree: Any) -> Any:  # noqa: ANN401  (anything a user may write)
        if not isinstance(tree, Mapping) or "preset" not in tree:
            return tree
        return apply_preset(cls.__name__.lower(), tree)


S = TypeVar("S", bound=Spec)


def load(kind: type[S], path: str | Path | None = None, overrides: Sequence[str] = ()) -> S:
    """Read a job's specification.

    Args:
        kind: the job's `Spec` class.
        path: a YAML file; None: defaults only.
        overrides: `dotted.key=value` strings with values in YAML; they take precedence over the file.

    The key `root`, else the environment variable `HERBRAY_ROOT`, is the folder in which relative paths lie. The key
    itself is not kept. Addresses become paths: see `herbray.storage.address`.

    Raises:
        ConfigError: the file cannot be read or is not a mapping, an override is malformed, or a value is refused.
    """
    tree = _read_yaml(Path(path)) if path is not None else {}
    for text in overrides:
        _apply_override(tree, text)
    _refuse_credentials(tree)  # before a message can quote the tree
    try:
        root = read_root(tree.pop("root", None))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    spec = parse(kind, tree, origin=str(path) if path is not None else "the given settings")
    try:
        return place_under(spec, root)
    except storage.AddressRefused as error:
        raise ConfigError(str(error)) from None


def _refuse_credentials(tree: Mapping[str, Any]) -> None:
    for at, text in iter_texts(tree):
        try:
            refuse_credentials(text)
        except storage.AddressRefused as error:
            raise ConfigError(f"{at}: {error}") from None


def parse(kind: type[S], tree: Mapping[str, Any], origin: str = "the given settings") -> S:
    """Validate a nested mapping as `kind`; see `load`."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        faults = list(dict.fromkeys(_explain(kind, error)))
        more = [f"and {len(faults) - _MAX_FAULTS:,} more"] if len(faults) > _MAX_FAULTS else []
        lines = "\n".join(f"  {line}" for line in faults[:_MAX_FAULTS] + more)
        raise ConfigError(f"{origin}: not a valid {kind.__name__} configuration:\n{lines}") from None


def dump(spec: Spec) -> str:
    """The specification as YAML that `load` accepts."""
    return storage.show_all(yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def apply_preset(kind: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """A user's settings merged with the preset that they name.

    Args:
        kind: of the job, e.g. "train"; names a section of the preset. A section "train objective.name=triplet" is
            merged too if the settings (of section "train" and of the user) have that value.
        tree: the user's settings. Mappings are merged with those of the preset; other values replace them.

    Raises:
        ValueError: the preset does not exist, or has no section for this kind.
    """
    own = {key: value for key, value in tree.items() if key != "preset"}
    sections = _read_preset(tree["preset"])
    if kind not in sections:
        known = ", ".join(name for name in sections if " " not in name)
        raise ValueError(f"preset {tree['preset']!r} has no settings for {kind!r}, only for: {known}")
    settings = _merge(sections[kind], own)
    for name, section in sections.items():
        job, _, condition = name.partition(" ")
        path, _, value = condition.partition("=")
        if job == kind and condition and _value_at(settings, path.split(".")) == value:
            settings = _merge(_merge(sections[kind], section), own)
    return settings


def _read_preset(name: object) -> dict[str, dict[str, Any]]:
    known = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        raise ValueError(
            f"no preset {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known presets: {', '.join(known)}")
        )
    return _read_yaml(PRESETS / f"{name}.yaml")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings: inner mappings are merged, other values of `above` replace those of `below`."""
    tree = dict(below)
    for key, value in above.items():
        lower = tree.get(key)
        both = isinstance(lower, Mapping) and isinstance(value, Mapping)
        tree[key] = _merge(lower, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return tree


def _value_at(tree: Mapping[str, Any], path: Sequence[str]) -> object:
    node: object = tree
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tree = strict_yaml.read(strict_yaml.decode(file.read(strict_yaml.MAX_BYTES + 1)))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file; `herbray init` writes the shipped ones") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a YAML file") from None
    except strict_yaml.YamlRefused as error:
        raise ConfigError(f"{path}, {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: a configuration is a mapping of keys, not a {type(tree).__name__}; write lines of `key: value`"
        )
    return tree


def _apply_override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"override {text[:_MAX_CHARACTERS]!r}: write it as dotted.key=value")
    for depth, name in enumerate(names[:-1]):
        node = tree.setdefault(name, {})
        if node is None:
            node = tree[name] = {}
        if not isinstance(node, dict):
            inner = ".".join(names[: depth + 1])
            raise ConfigError(
                f"override {text[:_MAX_CHARACTERS]!r}: {inner} holds a {type(node).__name__}, not further keys"
            )
        tree = node
    try:
        tree[names[-1]] = strict_yaml.read(value)
    except strict_yaml.YamlRefused as error:
        raise ConfigError(f"override {text[:_MAX_CHARACTERS]!r}: {error}") from None


def _explain(kind: type[Spec], error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        keys = [str(part) for part in fault["loc"]]
        path, holder = _locate(kind, keys)
        if fault["type"] == "extra_forbidden":
            known = sorted(holder.model_fields) if holder else []
            near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            yield f"{path}: unknown key; {hint}"
        elif fault["type"] == "missing":
            yield f"{path}: {MISSING}"
        elif fault["type"] in ("string_type", "path_type") and isinstance(fault["input"], bool | int | float):
            kind_read = _TYPE_NAMES[type(fault["input"])]
            yield f"{path}: {_shorten(fault['input'])} is read as a {kind_read}; put it into quotes"
        else:
            yield f"{path}: {fault['msg'].removeprefix('Value error, ')} (got {_shorten(fault['input'])!r})"


_TYPE_NAMES: Final = {bool: "boolean", int: "number", float: "number"}


def _shorten(value: object) -> str:
    """The beginning of a value; null and booleans as in YAML."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)[:_MAX_CHARACTERS]


def _locate(kind: type[Spec], keys: Sequence[str]) -> tuple[str, type[Spec] | None]:
    """The dotted path as the user wrote it, without union tags, and the Spec that holds its last key."""
    holder: type[Spec] | None = kind
    options: list[type[Spec]] = []
    labelled = False
    shown: list[str] = []
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if labelled or len(options) > 1:  # pydantic puts the union member into the path: its tag or type
            chosen = [
                option for option in options if key == _union_tag(option) or re.search(rf"\b{option.__name__}\b", key)
            ]
            if chosen or (labelled and not key.isdigit()):
                holder, options, labelled = (chosen[0] if chosen else None), [], False
                continue
        shown.append(key)
        if last or holder is None:
            continue
        field = holder.model_fields.get(key)
        if field is None:
            if not key.isdigit():
                holder = None
            continue
        options = list(find_specs(field.annotation))
        labelled = _count_members(field.annotation) > 1
        holder = options[0] if len(options) == 1 else (holder if options else None)
    return ".".join(shown) or kind.__name__, holder


def _union_tag(kind: type[Spec]) -> str | None:
    field = kind.model_fields.get("name")
    values = typing.get_args(field.annotation) if field else ()
    return str(values[0]) if values else None


def _count_members(annotation: object) -> int:
    """How many types a value may have, not counting None."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return sum(member is not type(None) for member in typing.get_args(annotation)) if union else 1


def find_specs(annotation: Any) -> Iterator[type[Spec]]:  # noqa: ANN401  (annotations have no common type)
    """The specifications inside an annotation, whichever member of a union or container they are."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, Spec):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from find_specs(inner)
