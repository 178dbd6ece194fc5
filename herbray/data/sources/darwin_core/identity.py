"""The id of a specimen, which must not change when the data are downloaded again."""

import re
from functools import lru_cache
from typing import Final

from herbray.data.sources.darwin_core.rows import Row

_UUID: Final = re.compile(r"^\{?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\}?$", re.I)
_SCHEME: Final = re.compile(r"^(?:https?://|urn:uuid:)", re.I)
_GLOBAL: Final = re.compile(r"^(?:[a-z][a-z0-9+.\-]*:\S|10\.\d{4,}/)", re.I)

IDENTITY_TERMS: Final = (
    *("occurrenceid", "materialentityid", "datasetkey", "recordset", "datasetid"),
    *("institutioncode", "collectioncode", "catalognumber", "recordid"),
)
"""The terms that `identify` reads."""


def fold_identifier(text: str) -> str:
    """An identifier without its scheme: publishers change http to https, and write a UUID in several ways.

    "https://Example.org/a/B1", "http://example.org/a/B1" give "example.org/a/B1"; "urn:uuid:…", "{…}" and capital
    letters give the bare UUID in small letters.
    """
    bare = _SCHEME.sub("", text.strip())
    if uuid := _UUID.match(bare):
        return uuid[1].lower()
    if bare != text.strip():  # the name of a host has no case, the rest of an address has
        host, slash, rest = bare.partition("/")
        return host.lower() + slash + rest
    return bare


_fold_scope: Final = lru_cache(maxsize=4096)(fold_identifier)  # few data sets have many records


def identify(row: Row) -> str | None:
    """The id of a specimen.

    It is the key of the data set and the publisher's `occurrenceID`; else institution, collection and catalogue number;
    else the UUID that a portal gave to the record (`recordID`). `gbifID` is no identity: GBIF gives a record another
    one if the publisher renames it.

    Returns:
        The id; None if the row has none of these.
    """
    given = row["occurrenceid"] or row["materialentityid"]
    owner = ":".join(part.replace(":", "%3A") for part in (row["institutioncode"], row["collectioncode"]))
    if given:
        folded = fold_identifier(given)
        scope = row["datasetkey"] or row["recordset"] or row["datasetid"]
        if scope:
            return f"{_fold_scope(scope)}/{folded}"
        return folded if _is_global(given) or owner == ":" else f"{owner}/{folded}"
    if row["catalognumber"] and row["institutioncode"]:
        return f"{owner}:{row['catalognumber']}"
    record = fold_identifier(row["recordid"])
    return record if _UUID.match(record) else None


def _is_global(identifier: str) -> bool:
    """Whether an identifier says itself whose it is."""
    return bool(_GLOBAL.match(identifier) or _UUID.match(identifier))
