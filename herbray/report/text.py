"""Untrusted text on the page."""

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\uffff\ud800-\udfff]+"
)


def clean(text: object, limit: int = 120) -> str:
    """Make untrusted text printable: one line, no control or direction characters, at most `limit` characters."""
    shown = " ".join(_UNPRINTABLE.sub(" ", str(text)).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
