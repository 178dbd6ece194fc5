"""The search space of a sweep: the settings that vary, their ranges, and the values of trials drawn with a seed.

A range is written as text, `uniform(0.1, 2)`, `loguniform(1e-4, 1e-2)`, `int(2, 8)`, `grid(0.1, 0.2)`, or as a list of
choices. The text is parsed with a regular expression, never evaluated.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from herbray import config
from herbray.config import ConfigError, Spec
from herbray.data.draws import draw_numbers
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


class _Interval(Spec):
    low: float
    high: float

    @model_validator(mode="after")
    def _check_bounds(self) -> "_Interval":
        if self.low >= self.high:
            raise ValueError(f"the range is empty: low {self.low:g} must be less than high {self.high:g}")
        return self


class Uniform(_Interval):
    """Every number of an interval is equally likely."""

    kind: Literal["uniform"] = "uniform"

    def at(self, fraction: float) -> float:
        """The number at a fraction, in [0, 1), of the way from `low` to `high`, to four significant digits."""
        return _round_within(self.low + fraction * (self.high - self.low), self.low, self.high)


class LogUniform(_Interval):
    """Every order of magnitude is equally likely."""

    kind: Literal["loguniform"] = "loguniform"
    low: float = Field(gt=0, description="lower end")

    def at(self, fraction: float) -> float:
        """See `Uniform.at`; on a logarithmic scale."""
        return _round_within(self.low * (self.high / self.low) ** fraction, self.low, self.high)


class Int(_Interval):
    """Every integer from `low` to `high`, both included, is equally likely."""

    kind: Literal["int"] = "int"
    low: int = Field(description="smallest value")
    high: int = Field(description="largest value")

    def at(self, fraction: float) -> int:
        """See `Uniform.at`."""
        return self.low + math.floor(fraction * (self.high - self.low + 1))


class Choice(Spec):
    """Every value of a list is equally likely."""

    kind: Literal["choice"] = "choice"
    values: tuple[Value, ...] = Field(min_length=1, description="the values to choose from")

    @model_validator(mode="after")
    def _check_distinct(self) -> "Choice":
        if len(set(map(repr, self.values))) < len(self.values):
            raise ValueError("a choice is given twice")
        return self

    def at(self, fraction: float) -> Value:
        """See `Uniform.at`."""
        return self.values[math.floor(fraction * len(self.values))]


class Grid(Choice):
    """The values of a list in turn; a `Choice` is drawn at random."""

    kind: Literal["grid"] = "grid"  # type: ignore[assignment]  # narrower than the parent's on purpose


AnyRange = Uniform | LogUniform | Int | Choice | Grid


def parse_range(given: Any) -> AnyRange:  # noqa: ANN401  (any YAML value)
    """Parse a range as written in YAML.

    Raises:
        ValueError: the form is unknown, or the bounds make no range.
    """
    if isinstance(given, AnyRange):
        return given
    if isinstance(given, list | tuple):
        return Choice(values=tuple(map(_parse_choice, given)))
    match = _CALL.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError(f"not a range: write {_FORMS}")
    name, inner = match.group(1), [part.strip() for part in match.group(2).split(",") if part.strip()]
    if name == "grid":
        return Grid(values=tuple(map(_parse_choice, inner)))
    kinds: dict[str, type[Uniform | LogUniform | Int]] = {"uniform": Uniform, "loguniform": LogUniform, "int": Int}
    if name not in kinds:
        raise ValueError(f"{name}(…) is no kind of range: write {_FORMS}")
    number = _INT if name == "int" else _FLOAT
    if len(inner) != 2 or not all(number.fullmatch(part) for part in inner):
        raise ValueError(f"{name} takes two {'integers' if name == 'int' else 'numbers'}, as in {name}(2, 8)")
    try:
        return kinds[name].model_validate(dict(zip(("low", "high"), inner, strict=True)))
    except ValidationError as error:
        faults = [(*fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in error.errors()]
        raise ValueError("; ".join(": ".join(map(str, fault)) for fault in faults)) from None


def format_range(given: AnyRange) -> str | list[Value]:
    """A range as written in YAML: the inverse of `parse_range`."""
    if isinstance(given, Grid):
        return f"grid({', '.join('null' if v is None else str(v) for v in given.values)})"
    if isinstance(given, Choice):
        return list(given.values)
    return f"{given.kind}({_format_bound(given.low)}, {_format_bound(given.high)})"


Range = Annotated[AnyRange, BeforeValidator(parse_range), PlainSerializer(format_range)]
Space = Mapping[str, AnyRange]


def draw_trials(space: Space, trials: int, seed: int) -> list[dict[str, Value]]:
    """The values of each trial of a random search.

    Grids are taken in turn, the other ranges are drawn at random, and no two trials are equal. The result depends on
    the arguments alone, and the first n trials do not depend on `trials`.

    Raises:
        ValueError: the space has fewer points than `trials`.
    """
    if (points := count_points(space)) < trials:
        raise ValueError(f"the space has {points} points, fewer than trials={trials}: use searcher=grid to try each")
    grid = _combinations({path: each for path, each in space.items() if isinstance(each, Grid)})
    found: dict[tuple[str, ...], dict[str, Value]] = {}
    for number in range(1000 * trials):
        fractions = {path: draw_numbers(seed, f"sweep {path}", [str(number)])[0] / 2**64 for path in space}
        values = {path: each.at(min(float(fractions[path]), 1 - 2**-53)) for path, each in space.items()}
        values |= grid[len(found) % len(grid)]
        found.setdefault(tuple(map(repr, values.values())), values)
        if len(found) == trials:
            return list(found.values())
    raise ValueError(f"the ranges are too narrow: they do not give trials={trials} that differ in four digits")


def list_combinations(space: Space) -> list[dict[str, Value]]:
    """The values of each trial of a grid search: all combinations; the last path varies fastest.

    Raises:
        ValueError: a path has an interval instead of a list of values.
    """
    if ranges := [path for path, each in space.items() if not isinstance(each, Choice)]:
        raise ValueError(
            f"searcher=grid needs a grid or a list of choices for each path, but {', '.join(ranges)} is an interval: "
            "use searcher=random"
        )
    return _combinations(space)


def count_points(space: Space) -> float:
    """The number of different trials; infinite if a path is an interval of real numbers."""
    if any(isinstance(each, Uniform | LogUniform) for each in space.values()):
        return math.inf
    return math.prod(len(e.values) if isinstance(e, Choice) else int(e.high - e.low) + 1 for e in space.values())


def apply_values(base: Train, values: Values, number: int) -> Train:
    """The training job of a trial: `base` with `values` at their paths.

    Raises:
        ConfigError: a path does not exist or must not vary, or a value is invalid.
    """
    tree = base.model_dump(mode="json", exclude_unset=True)
    for path, value in values.items():
        if mark := mark_at(base, path):
            raise ConfigError(f"space: {path} cannot be searched: {mark.reason}")
        _set_value(tree, base, path, value)
    shown = ", ".join(f"{path}={value}" for path, value in values.items())
    return config.parse(Train, tree, origin=f"trial {number} of the search space ({shown})")


def _set_value(tree: dict[str, Any], base: Spec, path: str, value: Value) -> None:
    """Set a value. A part that is at its default gets its `name` written too: the name decides which keys are valid."""
    *parents, last = path.split(".")
    node: Any = base
    for depth, name in enumerate(parents, 1):
        node = getattr(node, name, None)
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"space: {path}: {'.'.join(parents[:depth])} is a single value without keys")
        if isinstance(node, Spec) and "name" in type(node).model_fields and last != "name":
            tree.setdefault("name", getattr(node, "name"))  # noqa: B009  (not every Spec has it)
    tree[last] = value


def _combinations(space: Mapping[str, AnyRange]) -> list[dict[str, Value]]:
    lists: Iterator[Sequence[Value]] = (each.values for each in space.values() if isinstance(each, Choice))
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]


def _parse_choice(given: object) -> Value:
    """Parse one choice. YAML 1.1 reads 1e-4 as text, so numbers in text are converted."""
    if not isinstance(given, Value):
        raise ValueError(f"a choice is a number, a text, true, false or null, not {given!r}")
    if isinstance(given, str):
        given = given.strip()
        if given in _WORDS:
            return _WORDS[given]
        if _INT.fullmatch(given):
            return int(given)
        if _FLOAT.fullmatch(given):
            return float(given)
    return given


def _format_bound(bound: float) -> str:
    return f"{bound:g}" if float(f"{bound:g}") == bound else repr(bound)


def _round_within(value: float, low: float, high: float) -> float:
    """Round to four significant digits, as people write settings, without leaving the bounds."""
    return min(max(float(f"{value:.4g}"), low), high)
