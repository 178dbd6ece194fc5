"""Validators of task settings: known names, splits, and lists without duplicates."""

import difflib
from collections.abc import Sequence
from typing import Annotated, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from herbray import schema

T = TypeVar("T")


def suggest_name(name: str, known: Sequence[str]) -> str:
    """A hint for an unknown name: the closest known name, or all of them if none is close."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"


def known_name(literal: object) -> BeforeValidator:
    """A validator for a `Literal` of strings that answers an unknown name with the closest known one."""
    known = get_args(literal)

    def check(value: object) -> object:
        if isinstance(value, str) and value not in known:
            raise ValueError(f"unknown name {value!r}; {suggest_name(value, known)}")
        return value

    return BeforeValidator(check)


def refuse_duplicates(entries: tuple[T, ...]) -> tuple[T, ...]:
    """Validator: refuse a tuple that contains an entry twice, because its scores would appear twice."""
    if len(set(entries)) < len(entries):
        raise ValueError("an entry occurs twice; remove one of the two")
    return entries


def parse_splits(pooled: str) -> tuple[str, ...]:
    """The split names in a pool such as "herbarium+random".

    Raises:
        ValueError: a name is not a split, or occurs twice.
    """
    names = tuple(pooled.split("+"))
    for name in names:
        if name not in schema.SPLITS:
            raise ValueError(f"unknown split {name!r} in {pooled!r}; {suggest_name(name, schema.SPLITS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{pooled!r} names a split twice; remove one of the two")
    return names


def _check_split(pooled: str) -> str:
    parse_splits(pooled)
    return pooled


PooledSplit = Annotated[str, AfterValidator(_check_split)]
"""A split, or several splits joined by "+"."""


PooledSplits = Annotated[tuple[PooledSplit, ...], Field(min_length=1), AfterValidator(refuse_duplicates)]
"""The splits that a task runs on: at least one split or pool of splits, each once."""
