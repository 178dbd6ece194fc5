"""Where every row of an archive went: used, left out or refused, by file."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from herbray.data.sources.base import Refuse

MAX_REFUSED: Final = 250_000
"""So many refused rows mean that the archive is not what it declares to be; reading stops."""


@dataclass
class Tally:
    """The rows of one table: `rows` = `used` + left out + refused."""

    rows: int = 0
    used: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "rows": self.rows,
            "used": self.used,
            "left_out": dict(sorted(self.left_out.items())),
            "refused": dict(sorted(self.refused.items())),
        }


class Ledger:
    """Counts the rows of each table and passes refused ones on.

    Attributes:
        tallies: by the name of the table. The name "" stands for images that have no row of their own.
    """

    def __init__(self, refuse: Refuse) -> None:
        """See `herbray.data.sources.base.Refuse`."""
        self.tallies: dict[str, Tally] = {}
        self._refuse = refuse
        self._refused = 0

    def tally(self, table: str) -> Tally:
        """The counts of a table."""
        found = self.tallies.get(table)
        if found is None:  # `setdefault` would make a tally for every row
            found = self.tallies[table] = Tally()
        return found

    def named(self) -> list[tuple[str, Tally]]:
        """The tables and their counts."""
        return [(name, tally) for name, tally in self.tallies.items() if name]

    def refuse(
        self, table: str, line: int, reason: str, detail: str, specimen: str | None = None, image: str | None = None
    ) -> None:
        """Refuse a row.

        Raises:
            ValueError: more than `MAX_REFUSED` rows were refused.
        """
        self.tally(table).refused[reason] += 1
        self._refused += 1
        sentence = f"{table}, line {line}: {detail}"
        if self._refused > MAX_REFUSED:
            raise ValueError(
                f"more than {MAX_REFUSED:,} rows of the archive cannot be used, the last one because of {sentence}; "
                "correct the archive, or its descriptor, and read it again"
            )
        self._refuse(specimen, image, reason, sentence)

    def check(self) -> None:
        """Check that every row went somewhere.

        Raises:
            RuntimeError: the counts of a table do not add up.
        """
        for name, tally in self.named():
            gone = tally.used + tally.left_out.total() + tally.refused.total()
            if tally.rows != gone:
                raise RuntimeError(
                    f"{name}: {tally.rows} rows came in, {gone} went out; this is a bug, please report it"
                )
