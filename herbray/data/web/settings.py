"""Settings of requests to servers of images: how often, how much, how long, and under whose name."""

import re
from typing import Final

from pydantic import Field

from herbray import __version__
from herbray.config import Spec

_CONTACT: Final = re.compile(r"[^\s@(),;]+@[^\s@(),;]+\.[^\s@(),;]+|https?://[^\s(),;]+\.[^\s(),;]+", re.I)
_PLACEHOLDER: Final = re.compile(r"(^|[@./])example\.(com|net|org)\b|\.(example|invalid|test)(/|$)", re.I)  # RFC 2606


class Pace(Spec):
    """How often requests go to a host."""

    rate: float = Field(1.0, gt=0, le=1000, description="most requests a second to a host, of every kind together")
    concurrency: int = Field(1, ge=1, le=64, description="most requests to a host at the same time")


class Limits(Spec):
    """What a server may cost before it is left alone."""

    seconds: float = Field(120, gt=0, description="longest time of a request, from its start to the last byte")
    max_mb: float = Field(100, gt=0, le=256, description="largest size of an image in MB (2^20 bytes)")
    redirects: int = Field(5, ge=0, le=20, description="most redirects of an image")
    attempts: int = Field(
        3, ge=1, le=10, description="how often a run asks for an image that does not come for a passing reason"
    )
    failures: int = Field(5, ge=1, description="after this many failures of a host in a row, it is left alone a while")
    pauses: int = Field(3, ge=0, description="how often it is left alone before the run gives it up")
    pause_s: float = Field(
        30, gt=0, description="seconds of the first pause, and before an image is asked for again; then twice as long"
    )
    max_wait_s: float = Field(
        3600, ge=0, description="a host that asks for a longer wait (Retry-After) is left for another run; in seconds"
    )

    @property
    def max_bytes(self) -> int:
        """Largest size of an image in bytes."""
        return int(self.max_mb * 2**20)


def name_agent(contact: str) -> str:
    """The header User-Agent, which tells the owner of a server whom to ask.

    Args:
        contact: an e-mail address or the address of a web page.

    Raises:
        ValueError: it is neither, or a placeholder.
    """
    if not _CONTACT.fullmatch(contact) or len(contact) > 200:
        raise ValueError(
            f"contact: {contact!r} is neither an e-mail address nor the address of a web page; the owners of the "
            "servers must be able to reach you"
        )
    if _PLACEHOLDER.search(contact):
        raise ValueError(
            f"contact: {contact!r} is a placeholder; set it to your own e-mail address, so that the owners of the "
            "servers can reach you: contact=NAME@HERBARIUM"
        )
    return f"herbray/{__version__} (+{contact})"
