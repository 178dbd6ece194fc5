"""Validators of task settings: known names, splits, and lists without duplicates."""

import difflib
from collections.abc import Sequence
from typing import Annotated, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from herbray import schema

T = TypeVar("T")


def suggest_name(name: str, known: Sequence[str]) -> str:
    """A hint for a name that is not among the known: the closest of them, else all."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def known_name(literal: object) -> BeforeValidator:
    """Make a `Literal` of strings answer an unknown name with the nearest known one."""
    known = get_args(literal)

    def check(value: object) -> object:
        if isinstance(value, str) and value not in known:
            raise ValueError(f"unknown name {value!r}; {suggest_name(value, known)}")
        return value

    return BeforeValidator(check)


def refuse_duplicates(entries: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a tuple that holds something twice: its scores would be there twice. For use as a validator."""
    if len(set(entries)) < len(entries):
        raise ValueError("an entry occurs twice")
    return entries


def parse_splits(pooled: str) -> tuple[str, ...]:
    """The names in "herbarium+random".

    Raises:
        ValueError: a name is no split, or occurs twice.
    """
    names = tuple(pooled.split("+"))
    for name in names:
        if name not in schema.SPLITS:
            raise ValueError(f"unknown split {name!r} in {pooled!r}; {suggest_name(name, schema.SPLITS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{pooled!r} names a split twice")
    return names


def _check_split(pooled: str) -> str:
    parse_splits(pooled)
    return pooled


PooledSplit = Annotated[str, AfterValidator(_check_split)]
"""A split, or several joined by "+"."""


PooledSplits = Annotated[tuple[PooledSplit, ...], Field(min_length=1), AfterValidator(refuse_duplicates)]
"""Where a task is run: at least one split or pool of splits, each once."""
