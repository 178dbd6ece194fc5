"""Sections of a model card, found by their headings: what is learned of a version later goes into its own."""

from typing import Final

_HEADING: Final = "## "
_ITEM: Final = "- "


def replace_section(card: str, title: str, text: str) -> str:
    """The card with the text of its section `title` replaced; a card that lacks it gets it at its end.

    A section reaches from its heading `## title` to the next heading of that rank. Only the first of a title counts:
    the sections that are replaced stand before the settings, whose text is whatever the user wrote.

    Args:
        card: Markdown.
        title: one line.
        text: Markdown without headings of that rank.
    """
    lines = card.splitlines()
    place = _find_section(lines, title)
    body = [_HEADING + title, "", *text.strip().splitlines(), ""]
    if place is None:
        return "\n".join([*lines, *([""] if lines and lines[-1] else []), *body])
    begin, end = place
    return "\n".join([*lines[:begin], *body, *lines[end:]]).rstrip("\n") + "\n"


def read_section(card: str, title: str) -> str:
    """The text of a section; empty where there is none."""
    lines = card.splitlines()
    place = _find_section(lines, title)
    return "\n".join(lines[place[0] + 1 : place[1]]).strip() if place else ""


def append_line(card: str, title: str, line: str, kept: int) -> str:
    """The card with a line more in the list that is its section `title`, of which the last `kept` stay."""
    items = [each for each in read_section(card, title).splitlines() if each.startswith(_ITEM)]
    return replace_section(card, title, "\n".join([*items, _ITEM + " ".join(line.split())][-kept:]))


def _find_section(lines: list[str], title: str) -> tuple[int, int] | None:
    """First line of a section and the line after its last."""
    for begin, line in enumerate(lines):
        if line.rstrip() == _HEADING + title:
            rest = range(begin + 1, len(lines))
            return begin, next((at for at in rest if lines[at].startswith(_HEADING)), len(lines))
    return None
