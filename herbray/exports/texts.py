"""Texts of exports: remarks that say who says what and why, names in parts, and cells without control characters."""

import re
import unicodedata
from collections import Counter
from typing import Final
from urllib.parse import quote, urlsplit

from herbray.exports.batch import Batch, Opinion, Sheet
from herbray.schema import RANKS

_SCHEMES: Final = ("http", "https", "urn", "doi", "ark", "hdl")
_IN_ADDRESSES: Final = "%:/?#[]@!$&'()*+,;=~-._"  # characters that `quote` keeps
_ORCID: Final = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")


def clean_line(text: str | None, most: int | None = None) -> str:
    """A text on one line, without control characters.

    Args:
        text: anything from metadata; None is "".
        most: number of characters; a longer text is cut and ends in "…".
    """
    line = " ".join((text or "").split())
    line = "".join(letter for letter in line if unicodedata.category(letter) not in ("Cc", "Cs"))
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def write_remark(opinion: Opinion, batch: Batch) -> str:
    """One or two sentences: who says what about which name, how sure, on what evidence, with which version."""
    given = f"{clean_line(opinion.given, 120)}, the {opinion.rank} on file"
    if opinion.is_machine:
        said = _write_suggestion(opinion, batch, given)
    else:
        who = clean_line(opinion.by, 120) or "A reviewer who gave no name"
        judged = {"right": "right", "wrong": "wrong", "maybe": "possibly wrong"}[opinion.verdict]
        said = f"{who} judged {given}, {judged}, by images of the sheet."
    note = f" Note: {clean_line(opinion.note, 500)}" if opinion.note else ""
    return f"{said}{note} [{batch.software}, batch {batch.id}]"


def _write_suggestion(opinion: Opinion, batch: Batch, given: str) -> str:
    chance, given_chance = opinion.probability or 0.0, opinion.given_probability or 0.0
    alike = Counter(opinion.alike).most_common(3)
    near = ", ".join(f"{clean_line(name, 80)} ({count})" for name, count in alike)
    return (
        f"Suggestion of a machine that no person has checked: encoder {clean_line(batch.encoder, 80)} "
        f"({batch.fingerprint[:12] or 'no fingerprint'}) gives {clean_line(opinion.name, 120)} a probability of "
        f"{chance:.2f}, and {given}, {given_chance:.2f}." + (f" Most similar sheets: {near}." if near else "")
    )


def split_name(name: str, rank: str) -> dict[str, str]:
    """A name as rank → name: genus and epithet of a species of two words, else the name itself."""
    genus, _, epithet = name.partition(" ")
    return {"genus": genus, "species": epithet} if rank == "species" and epithet else {rank: name}


def find_name(sheet: Sheet) -> tuple[str, str]:
    """The finest name that a sheet is filed under, and its rank; empty if it has none."""
    return next(((name, rank) for rank in reversed(RANKS) if (name := sheet[rank])), ("", ""))


def find_address(sheet: Sheet) -> str:
    """The address of a sheet: its reference or its id if they are addresses, else a URN made from the id."""
    for text in (sheet["reference"], sheet["specimen_id"]):
        if address := read_address(text):
            return address
    return f"urn:x-herbray:specimen:{quote(sheet['specimen_id'] or '', safe='')}"


def read_address(text: str | None) -> str:
    """A text as an address that is safe to follow; "" if it is none."""
    text = (text or "").strip()
    try:
        scheme = urlsplit(text).scheme.lower()
    except ValueError:
        return ""
    return quote(text, safe=_IN_ADDRESSES) if scheme in _SCHEMES and not re.search(r"\s", text) else ""


def read_orcid(text: str) -> str:
    """The ORCID that a reviewer gave as name, as an address; "" if it is none."""
    found = _ORCID.fullmatch(text.strip())
    return f"https://orcid.org/{found[1]}" if found else ""
