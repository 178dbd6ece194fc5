"""What a check says."""

from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warning", "error"]

GB: Final = 10**9
"""Bytes."""


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        check: what was looked at.
        status: "ok"; "warning": jobs run, but slower or less safely; "error": jobs fail, or strangers may run code.
        found: what was seen. Holds no secret.
        remedy: what to do; empty where all is well.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
