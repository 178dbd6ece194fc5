"""The root: the folder in which the relative paths of a specification lie, so that job files fit every cluster.

The root, and every path, may be an address in an object store: see `herbray.storage.address`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from herbray.storage.address import SCHEMES, AddressRefused, is_address, path_of

ROOT_VARIABLE: Final = "HERBRAY_ROOT"
"""Environment variable with the root; the setting `root` takes precedence."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class PathOr:
    """A mark on a text field, in `Annotated[...]`: a value is a path, except these words and addresses."""

    words: frozenset[str]

    def is_path(self, value: str) -> bool:
        """Whether a value of the field is a path, or the address of one."""
        scheme = _SCHEME.match(value)
        return value not in self.words and (scheme is None or scheme[1].lower() in SCHEMES)


def read_root(given: object) -> Path | None:
    """The root, absolute, or the path that stands for its address; None: relative paths lie in the working directory.

    Args:
        given: the setting `root`; None: the environment variable decides.

    Raises:
        ValueError: it is an address that cannot be used, or no text.
    """
    name, value = ("root", given) if given is not None else (ROOT_VARIABLE, os.environ.get(ROOT_VARIABLE, "").strip())
    if given is None and not value:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: must be the path or address of a folder (got {value!r})")
    try:
        return path_of(value).absolute()
    except AddressRefused as error:
        raise ValueError(f"{name}: {error}") from None


def place_under(spec: M, root: Path | None) -> M:
    """A copy of a specification whose relative paths lie under `root`, and whose addresses have become paths.

    `model_fields_set` stays as it is.

    Raises:
        AddressRefused: an address cannot be used.
    """
    values = {name: _place(value, root, _mark(spec, name)) for name, value in spec}
    placed = spec.model_copy(update=values)
    placed.model_fields_set.intersection_update(spec.model_fields_set)
    return placed


def list_paths(value: Any) -> Iterator[Path]:  # noqa: ANN401  (the value of any setting)
    """The paths in a specification."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for _, each in value:
            yield from list_paths(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from list_paths(each)
    elif isinstance(value, Mapping):
        yield from list_paths(tuple(value.values()))


def _place(value: Any, root: Path | None, mark: PathOr | None) -> Any:  # noqa: ANN401  (the value of any setting)
    if isinstance(value, BaseModel):
        return place_under(value, root)
    if isinstance(value, Path):
        return _place_path(value, root)
    if isinstance(value, str):
        return str(_place_path(value, root)) if mark and mark.is_path(value) else value
    if isinstance(value, tuple | list):
        return type(value)(_place(each, root, mark) for each in value)
    if isinstance(value, Mapping):
        return {key: _place(each, root, mark) for key, each in value.items()}
    return value


def _place_path(value: str | Path, root: Path | None) -> str | Path:
    if is_address(str(value)):
        return path_of(value)
    return value if root is None else root / value


def _mark(spec: BaseModel, name: str) -> PathOr | None:
    metadata = type(spec).model_fields[name].metadata
    return next((each for each in metadata if isinstance(each, PathOr)), None)
