"""What the review page shows, as plain data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_COLLECTOR: Final = re.compile(r"([^\d|;]*[^\W\d_]{2}[^\d|;]*?)[\s,.|;#-]+\d")


@dataclass(frozen=True)
class Sheet:
    """A sheet, as the archive describes it.

    Attributes:
        row: the columns of `schema.SPECIMEN`, and `image`, the path or URI of the original, if it is known.
        picture: address of its picture, relative to the page; "" if there is none.
    """

    row: Mapping[str, str | None]
    picture: str

    @property
    def specimen_id(self) -> str:
        """Its id."""
        return str(self.row["specimen_id"])


@dataclass(frozen=True)
class Doubt:
    """Why the name of a sheet is doubted at one rank: a row of `schema.SUSPECT`."""

    rank: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    wrong_probability: float
    suspected: bool
    kind: str
    place: int
    neighbour_names: tuple[str, ...]


@dataclass(frozen=True)
class Similar:
    """The most similar sheets of a name, nearest first, each with its distance."""

    name: str
    sheets: Sequence[tuple[Sheet, float]]


@dataclass(frozen=True)
class Item:
    """A sheet in the queue.

    Attributes:
        sheet: the sheet.
        rank: of the name in question.
        given: the name in question.
        doubts: at this rank first; none if the sheet is only listed because it was judged under an earlier name.
        similar: of the given name first, then of the proposed names.
    """

    sheet: Sheet
    rank: str
    given: str
    doubts: tuple[Doubt, ...]
    similar: tuple[Similar, ...]


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        title: its heading.
        store: name under which the browser keeps verdicts.
        about: lines on how the queue was made.
        shares: lines on how many names are wrong, down the queue.
        items: the queue.
        verdicts: that were on the disk when the page was made, in `schema.VERDICT`.
    """

    title: str
    store: str
    about: Sequence[str]
    shares: Sequence[str]
    items: Sequence[Item]
    verdicts: Sequence[Mapping[str, Any]]


def explain(item: Item) -> str:
    """Why the sheet is in the queue, in one sentence."""
    if not item.doubts:
        return (
            f"It was judged as {item.given} and has another name now ({item.sheet.row[item.rank] or 'none'}), so it is "
            "settled."
        )
    doubt = item.doubts[0]
    if doubt.kind == "synonym":
        return f"{doubt.given} is a synonym of {doubt.suggested}; the plant is not doubted."
    shared = {"gathering": "Sheets of its gathering", "image": "Sheets with this image"}
    several = f"{shared[doubt.kind]} have several names. " if doubt.kind in shared else ""
    agree = doubt.neighbour_names.count(doubt.suggested)
    near = f", and {agree} of its {len(doubt.neighbour_names)} most similar sheets are filed as {doubt.suggested}"
    own, other = _percent(doubt.given_probability), _percent(doubt.suggested_probability)
    return (
        f"{several}It is filed as {doubt.given}, to which the encoder gives a probability of {own}; "
        f"{doubt.suggested} has {other}{near if agree else ''}. The filed name is wrong with a probability of "
        f"{_percent(doubt.wrong_probability)}."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if 0.005 <= value <= 0.995 else ("under 1 %" if value < 0.5 else "over 99 %")


def collector_of(gathering: str | None) -> str | None:
    """The collector in a gathering such as "A. Vale 123 2019-05-01": what stands apart before the first number."""
    found = _COLLECTOR.match(gathering or "")
    return found[1].strip() if found else None
