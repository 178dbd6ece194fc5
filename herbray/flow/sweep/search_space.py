"""The search space of a sweep: which settings vary, over which ranges, and the trials that follow from a seed.

A range is written as text, `uniform(0.1, 2)`, `loguniform(1e-4, 1e-2)`, `int(2, 8)`, `grid(0.1, 0.2)`, or as a list of
choices. It is read by a regular expression, never evaluated.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from herbray import config
from herbray.config import ConfigError, Spec
from herbray.data.draws import draws
from herbray.flow.training.specification import Train
from herbray.settings.marks import mark_at

Value = bool | int | float | str | None
Values = Mapping[str, Value]
"""One trial's settings by dotted path."""

_CALL: Final = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_INT: Final = re.compile(r"[+-]?\d+")
_FLOAT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS: Final[Mapping[str, Value]] = {"true": True, "false": False, "null": None}
_FORMS: Final = "uniform(low, high), loguniform(low, high), int(low, high), grid(a, b, …) or a list of choices"


class _Between(Spec):
    low: float = Field(description="lower end")
    high: float = Field(description="upper end")

    @model_validator(mode="after")
    def _is_no_point(self) -> "_Between":
        if self.low >= self.high:
            raise ValueError(f"the range is empty: low {self.low:g} must be less than high {self.high:g}")
        return self


class Uniform(_Between):
    """Every number of an interval alike."""

    kind: Literal["uniform"] = "uniform"

    def at(self, share: float) -> float:
        """The number that lies so far along the interval, to four digits: `share` is in [0, 1)."""
        return _between(self.low + share * (self.high - self.low), self.low, self.high)


class LogUniform(_Between):
    """Every order of magnitude alike."""

    kind: Literal["loguniform"] = "loguniform"
    low: float = Field(gt=0, description="lower end")

    def at(self, share: float) -> float:
        """See `Uniform.at`; along the logarithm."""
        return _between(self.low * (self.high / self.low) ** share, self.low, self.high)


class Int(_Between):
    """Every whole number from low to high, both included."""

    kind: Literal["int"] = "int"
    low: int = Field(description="smallest value")
    high: int = Field(description="largest value")

    def at(self, share: float) -> int:
        """See `Uniform.at`."""
        return self.low + math.floor(share * (self.high - self.low + 1))


class Choice(Spec):
    """One of a list."""

    kind: Literal["choice"] = "choice"
    values: tuple[Value, ...] = Field(min_length=1, description="the values to choose from")

    @model_validator(mode="after")
    def _are_different(self) -> "Choice":
        if len(set(map(repr, self.values))) < len(self.values):
            raise ValueError("a choice is given twice")
        return self

    def at(self, share: float) -> Value:
        """See `Uniform.at`."""
        return self.values[math.floor(share * len(self.values))]


class Grid(Choice):
    """Values that are gone through one after another, where a choice is drawn."""

    kind: Literal["grid"] = "grid"  # type: ignore[assignment]  # narrower than its parent's, as meant


AnyRange = Uniform | LogUniform | Int | Choice | Grid


def read(given: Any) -> AnyRange:  # noqa: ANN401  (whatever YAML held)
    """A range from its YAML form.

    Raises:
        ValueError: it is none of the forms, or its bounds make no range.
    """
    if isinstance(given, AnyRange):
        return given
    if isinstance(given, list | tuple):
        return Choice(values=tuple(map(_choice, given)))
    match = _CALL.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError(f"not a range: write {_FORMS}")
    name, inner = match.group(1), [part.strip() for part in match.group(2).split(",") if part.strip()]
    if name == "grid":
        return Grid(values=tuple(map(_choice, inner)))
    kinds: dict[str, type[Uniform | LogUniform | Int]] = {"uniform": Uniform, "loguniform": LogUniform, "int": Int}
    if name not in kinds:
        raise ValueError(f"{name}(…) is not known: write {_FORMS}")
    number = _INT if name == "int" else _FLOAT
    if len(inner) != 2 or not all(number.fullmatch(part) for part in inner):
        raise ValueError(f"{name} takes two {'whole numbers' if name == 'int' else 'numbers'}, as in {name}(2, 8)")
    try:
        return kinds[name].model_validate(dict(zip(("low", "high"), inner, strict=True)))
    except ValidationError as error:
        faults = [(*fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in error.errors()]
        raise ValueError("; ".join(": ".join(map(str, fault)) for fault in faults)) from None


def text(given: AnyRange) -> str | list[Value]:
    """The form that `read` takes back."""
    if isinstance(given, Grid):
        return f"grid({', '.join('null' if v is None else str(v) for v in given.values)})"
    if isinstance(given, Choice):
        return list(given.values)
    return f"{given.kind}({_shown(given.low)}, {_shown(given.high)})"


Range = Annotated[AnyRange, BeforeValidator(read), PlainSerializer(text)]
Space = Mapping[str, AnyRange]


def drawn(space: Space, trials: int, seed: int) -> list[dict[str, Value]]:
    """The trials of a random search: a function of the arguments, of which the first n do not depend on `trials`.

    Grids are gone through in turn, the rest is drawn; no trial comes twice.

    Raises:
        ValueError: the space has fewer points than `trials`.
    """
    if (points := size(space)) < trials:
        raise ValueError(f"the space has {points} points, fewer than trials={trials}: searcher=grid tries each once")
    rounds = _product({path: each for path, each in space.items() if isinstance(each, Grid)})
    found: dict[tuple[str, ...], dict[str, Value]] = {}
    for number in range(1000 * trials):
        shares = {path: draws(seed, f"sweep {path}", [str(number)])[0] / 2**64 for path in space}
        values = {path: each.at(min(float(shares[path]), 1 - 2**-53)) for path, each in space.items()}
        values |= rounds[len(found) % len(rounds)]
        found.setdefault(tuple(map(repr, values.values())), values)
        if len(found) == trials:
            return list(found.values())
    raise ValueError(f"the ranges are too narrow for trials={trials} that differ in four digits")


def every(space: Space) -> list[dict[str, Value]]:
    """The trials of a grid search: all combinations; the last path varies fastest.

    Raises:
        ValueError: a path has a range, which has no end of points.
    """
    if ranges := [path for path, each in space.items() if not isinstance(each, Choice)]:
        raise ValueError(f"searcher=grid needs grids or choices, and {', '.join(ranges)} has a range: use random")
    return _product(space)


def size(space: Space) -> float:
    """How many different trials there are; infinite where a number is drawn from an interval."""
    if any(isinstance(each, Uniform | LogUniform) for each in space.values()):
        return math.inf
    return math.prod(len(e.values) if isinstance(e, Choice) else int(e.high - e.low) + 1 for e in space.values())


def specified(base: Train, values: Values, number: int) -> Train:
    """The training job of a trial: `base` with `values` at their paths.

    Raises:
        ConfigError: a path does not exist or must not vary, or the values do not make a valid job.
    """
    tree = base.model_dump(mode="json", exclude_unset=True)
    for path, value in values.items():
        if mark := mark_at(base, path):
            raise ConfigError(f"space: {path} cannot be searched: {mark.reason}")
        _put(tree, base, path, value)
    shown = ", ".join(f"{path}={value}" for path, value in values.items())
    return config.parse(Train, tree, origin=f"trial {number} of the search space ({shown})")


def _put(tree: dict[str, Any], base: Spec, path: str, value: Value) -> None:
    """Set a value. A part that the user left at its default is named, since its name decides which keys it has."""
    *parents, last = path.split(".")
    node: Any = base
    for depth, name in enumerate(parents, 1):
        node = getattr(node, name, None)
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"space: {path}: {'.'.join(parents[:depth])} holds one value and no further keys")
        if isinstance(node, Spec) and "name" in type(node).model_fields and last != "name":
            tree.setdefault("name", getattr(node, "name"))  # noqa: B009  (not every Spec has it)
    tree[last] = value


def _product(space: Mapping[str, AnyRange]) -> list[dict[str, Value]]:
    lists: Iterator[Sequence[Value]] = (each.values for each in space.values() if isinstance(each, Choice))
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]


def _choice(given: object) -> Value:
    """A choice; YAML 1.1 takes 1e-4 for a word."""
    if not isinstance(given, Value):
        raise ValueError(f"a choice is a number, a word, true, false or null, not {given!r}")
    if isinstance(given, str):
        given = given.strip()
        if given in _WORDS:
            return _WORDS[given]
        if _INT.fullmatch(given):
            return int(given)
        if _FLOAT.fullmatch(given):
            return float(given)
    return given


def _shown(bound: float) -> str:
    return f"{bound:g}" if float(f"{bound:g}") == bound else repr(bound)


def _between(value: float, low: float, high: float) -> float:
    """To four digits, as people write settings, and no further than the bounds."""
    return min(max(float(f"{value:.4g}"), low), high)
