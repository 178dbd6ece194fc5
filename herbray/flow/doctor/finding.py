"""The result of a check."""

from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warning", "error"]

GB: Final = 10**9
"""One gigabyte, in bytes."""


@dataclass(frozen=True)
class Finding:
    """The result of one check: a line of the table that `herbray doctor` prints.

    Attributes:
        check: what was checked.
        status: "ok"; "warning": jobs run, but slower or less safely; "error": jobs fail, or strangers may run code.
        found: what was found. Contains no secret.
        remedy: what to do; empty if the status is "ok".
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
