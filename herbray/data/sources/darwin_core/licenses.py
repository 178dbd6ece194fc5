"""Licences as SPDX identifiers (SPDX licence list 3), from the addresses and names that publishers write."""

import re
from functools import lru_cache
from typing import Final

_ADDRESS: Final = re.compile(r"creativecommons\.org/(licenses/([a-z\-+]+)/(\d\.\d)|publicdomain/(zero|mark)/1\.0)")
_ZERO: Final = re.compile(r"\bcc[\s_\-]?0\b|\bcc[\s_\-]?zero\b")
_NAME: Final = re.compile(r"\bcc[\s_\-]+by((?:[\s_\-]+(?:nc|sa|nd))*)(?:[\s_\-]+v?(\d)[._](\d))?(?![\w.])")
_PARTS: Final = ("nc", "nd", "sa")  # in the order of SPDX
_KNOWN: Final = {(), ("nc",), ("nd",), ("sa",), ("nc", "nd"), ("nc", "sa")}
_VERSIONS: Final = ("1.0", "2.0", "2.5", "3.0", "4.0")


@lru_cache(maxsize=4096)
def parse_license(text: str) -> str | None:
    """The SPDX identifier of a licence.

    Only Creative Commons' licences and dedications are recognised, by their address or by their short name with a
    version: "CC BY-NC" without a version is no licence that could be looked up.

    Args:
        text: as the publisher wrote it, such as "http://creativecommons.org/licenses/by-nc/4.0/legalcode".

    Returns:
        Such as "CC-BY-NC-4.0"; None if the text names no licence that is known.
    """
    lowered = text.lower()
    if address := _ADDRESS.search(lowered):
        if address[4]:
            return "CC0-1.0" if address[4] == "zero" else "CC-PDM-1.0"
        return _format([part for part in re.split(r"[-+]", address[2]) if part != "by"], address[3])
    if _ZERO.search(lowered.replace("_1_0", "")):
        return "CC0-1.0"
    if (name := _NAME.search(lowered)) and name[2]:
        return _format(re.findall("nc|sa|nd", name[1]), f"{name[2]}.{name[3]}")
    return None


def _format(parts: list[str], version: str) -> str | None:
    ordered = tuple(part for part in _PARTS if part in parts)
    if ordered not in _KNOWN or set(parts) - set(_PARTS) or version not in _VERSIONS:
        return None
    return "-".join(("CC-BY", *(part.upper() for part in ordered), version))
