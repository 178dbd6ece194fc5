"""Measured rates: where they are kept, and which one fits what is planned. A rate is never guessed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from herbray import storage
from herbray.config import Spec

Work = Literal["catalogue", "split", "shard", "decode", "step", "fed step", "forward", "fed forward", "probe", "start"]

_NEAR: Final = 1.25  # ratio of sheet sizes, or of shard sides, up to which the cost of a sheet counts as the same


class Rate(Spec):
    """How fast one kind of work was on one machine.

    Attributes:
        work: catalogue, split: rows of labels; shard: sheets to shards; decode: images of shards to pixels; step,
            forward: images on a device that already holds the pixels; fed step, fed forward: the same from shards, in
            one process; probe: rows × features × classes × folds; start: of a command, from its call until it works.
        per_s: units per second of wall time.
        cores: CPU cores that worked together.
        device: "cpu", or the name of the GPU; one of it worked.
        arch: of the encoder.
        objective: of the training.
        px: side of the encoder's input; for shard and decode, the short side of the shards' images.
        sheet_px: pixels of a sheet, for shard.
        aspect: long side of the images divided by the short one, for decode.
        bytes: written per unit; 0: unknown.
        name: the verb, for start.
        share: of the cores' time that the work got; what others took is the rest.
        load: highest load average per core during the measurement; above 1, others worked on the same cores.
        machine: processor.
        when: date.
        source: the command, or the page that has the figure.
    """

    work: Work
    per_s: float = Field(gt=0)
    cores: int = Field(1, ge=1)
    device: str = "cpu"
    arch: str = ""
    objective: str = ""
    px: int = 0
    sheet_px: int = 0
    aspect: float = 1.0
    bytes: float = 0.0
    name: str = ""
    share: float = Field(1.0, gt=0, le=1)
    load: float = 0.0
    machine: str
    when: str
    source: str

    @property
    def per_core_s(self) -> float:
        """Units per second and core."""
        return self.per_s / self.cores

    def to_quiet(self) -> "Rate":
        """The rate that the work would have, had it all of the cores' time; see `share`."""
        return self.model_copy(update={"per_s": self.per_s / self.share, "share": 1.0})


class Rates(Spec):
    """A file of rates."""

    rates: tuple[Rate, ...]


def write_rates(rates: Iterable[Rate], path: Path) -> None:
    """Write a file of rates, whole or not at all."""
    storage.write_text(path, Rates(rates=tuple(rates)).model_dump_json(indent=1, exclude_defaults=True) + "\n")


class RateFinder:
    """Looks rates up; remembers those that were used, and the commands that would measure those that are missing.

    Args:
        rates: most trusted first.
        loaded: rates as they were measured, also where others worked on the same cores; else `Rate.to_quiet`.

    Attributes:
        used: in the order of first use.
        missing: commands, each once.
    """

    def __init__(self, rates: Sequence[Rate], loaded: bool = False) -> None:
        """Look nothing up yet."""
        self.loaded = loaded
        self.rates = tuple(rates if loaded else (rate.to_quiet() for rate in rates))
        self.used: dict[Rate, None] = {}
        self.missing: dict[str, None] = {}

    def find(self, work: Work, advice: str = "", **facts: object) -> Rate | None:
        """The first rate that fits; None if there is none.

        Args:
            work: what is done.
            advice: the command that would measure it; empty: the plan can do without.
            facts: fields of `Rate` that must be equal. `sheet_px`, and `px` of a shard, may differ by a quarter: they
                hardly change the cost of a sheet. `px` of decode may differ, see `scale_decode`.
        """
        for rate in self.rates:
            if rate.work == work and all(_fits(rate, name, value) for name, value in facts.items()):
                self.used[rate] = None
                return rate
        if advice:
            self.missing[advice] = None
        return None


def _fits(rate: Rate, name: str, value: object) -> bool:
    found = getattr(rate, name)
    if name == "px" and rate.work == "decode":
        return True
    if name == "sheet_px" or (name == "px" and rate.work == "shard"):
        return bool(found) and max(found, value) <= _NEAR * min(found, value)
    return bool(found == value)


def scale_decode(rate: Rate, px: int, aspect: float) -> float:
    """Images per second and core that are decoded at another size: decoding takes time in proportion to pixels.

    Args:
        rate: of decode.
        px: short side of the images.
        aspect: their long side divided by the short one.
    """
    return rate.per_core_s * (rate.px**2 * rate.aspect) / (px**2 * aspect)
