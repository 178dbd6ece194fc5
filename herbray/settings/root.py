"""The root: the folder in which the relative paths of a specification lie, so that job files fit every cluster."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

ROOT_VARIABLE: Final = "HERBRAY_ROOT"
"""Environment variable with the root; the setting `root` takes precedence."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class PathOr:
    """A mark on a text field, in `Annotated[...]`: a value is a path, except these words and addresses."""

    words: frozenset[str]

    def is_path(self, value: str) -> bool:
        """Whether a value of the field is a path."""
        return value not in self.words and not _SCHEME.match(value)


def read_root(given: object) -> Path | None:
    """The root, absolute; None: relative paths lie in the working directory.

    Args:
        given: the setting `root`; None: the environment variable decides.

    Raises:
        ValueError: it is an address, or no text.
    """
    name, value = ("root", given) if given is not None else (ROOT_VARIABLE, os.environ.get(ROOT_VARIABLE, "").strip())
    if given is None and not value:
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: must be the path of a folder (got {value!r})")
    if scheme := _SCHEME.match(value):
        raise ValueError(
            f"{name}: addresses ({scheme[1]}:) are not supported yet; give the path of a folder that every node mounts"
        )
    return Path(value).absolute()


def place_under(spec: M, root: Path) -> M:
    """A copy of a specification whose relative paths lie under `root`; `model_fields_set` stays as it is."""
    values = {name: _place(value, root, _mark(spec, name)) for name, value in spec}
    placed = spec.model_copy(update=values)
    placed.model_fields_set.intersection_update(spec.model_fields_set)
    return placed


def _place(value: Any, root: Path, mark: PathOr | None) -> Any:  # noqa: ANN401  (the value of any setting)
    if isinstance(value, BaseModel):
        return place_under(value, root)
    if isinstance(value, Path):
        return root / value
    if isinstance(value, str):
        return str(root / value) if mark and mark.is_path(value) else value
    if isinstance(value, tuple | list):
        return type(value)(_place(each, root, mark) for each in value)
    if isinstance(value, Mapping):
        return {key: _place(each, root, mark) for key, each in value.items()}
    return value


def _mark(spec: BaseModel, name: str) -> PathOr | None:
    metadata = type(spec).model_fields[name].metadata
    return next((each for each in metadata if isinstance(each, PathOr)), None)
