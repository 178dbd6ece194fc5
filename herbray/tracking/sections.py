"""Sections of a model card, found by their headings; later findings about a version are written to their section."""

from typing import Final

_HEADING: Final = "## "
_ITEM: Final = "- "


def replace_section(card: str, title: str, text: str) -> str:
    """Replace the text of section `title`, or append the section if the card lacks it.

    A section extends from its heading `## title` to the next heading of that level. If several sections have the title,
    the first is replaced: replaceable sections precede the settings, which may contain any text of the user.

    Args:
        card: the model card in Markdown.
        title: title of the section, one line.
        text: Markdown without headings of that level.
    """
    lines = card.splitlines()
    place = _find_section(lines, title)
    body = [_HEADING + title, "", *text.strip().splitlines(), ""]
    if place is None:
        return "\n".join([*lines, *([""] if lines and lines[-1] else []), *body])
    begin, end = place
    return "\n".join([*lines[:begin], *body, *lines[end:]]).rstrip("\n") + "\n"


def read_section(card: str, title: str) -> str:
    """Read the text of a section; "" if the card has no such section."""
    lines = card.splitlines()
    place = _find_section(lines, title)
    return "\n".join(lines[place[0] + 1 : place[1]]).strip() if place else ""


def append_line(card: str, title: str, line: str, kept: int) -> str:
    """Append a line to the list in section `title`, and keep the last `kept` lines."""
    items = [each for each in read_section(card, title).splitlines() if each.startswith(_ITEM)]
    return replace_section(card, title, "\n".join([*items, _ITEM + " ".join(line.split())][-kept:]))


def _find_section(lines: list[str], title: str) -> tuple[int, int] | None:
    """Index of the first line of a section, and of the line after its last line."""
    for begin, line in enumerate(lines):
        if line.rstrip() == _HEADING + title:
            rest = range(begin + 1, len(lines))
            return begin, next((at for at in rest if lines[at].startswith(_HEADING)), len(lines))
    return None
