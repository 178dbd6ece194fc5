"""Addresses of objects, such as `s3://bucket/prefix`, and the paths of their local copies.

In a specification, an address becomes a path below the cache of this machine: `s3://bucket/a/b` is
`CACHE/herbray-objects/s3/bucket/a/b`. The functions of `herbray.storage` recognize such a path on every node; all other
code handles paths. What users read shows the address.
"""

import os
import re
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

CACHE_VARIABLE: Final = "HERBRAY_CACHE"
"""Environment variable: folder on the node's disk that holds local copies of objects."""

SCHEMES: Final = ("s3", "gs", "file")
"""Supported schemes; `file` is an ordinary path."""

_OBJECTS: Final = "herbray-objects"
_ADDRESS: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]+):(?:/(?P<rest>.*))?", re.DOTALL)
"""`Path` keeps one slash of two, and none at the end."""

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,220}[A-Za-z0-9]")
_LOCAL_COPY: Final = re.compile(rf"[^\s'\"=,;\[(]*/{_OBJECTS}/(?P<scheme>s3|gs)/")


class AddressRefused(ValueError):
    """An address that cannot be used; the message does not repeat one that may hold credentials."""


class Place(NamedTuple):
    """Where an object lies.

    Attributes:
        scheme: s3 or gs.
        bucket: its name.
        key: name of the object or prefix in the bucket, without slashes at the ends.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        """The address."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    @property
    def path(self) -> str:
        """The name that `pyarrow.fs` uses."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket


def is_address(text: str) -> bool:
    """Whether a text is an address, of any scheme, and not a path."""
    return _ADDRESS.fullmatch(text) is not None


def path_of(text: str | Path) -> Path:
    """The path that stands for an address; other paths stay as they are.

    Raises:
        AddressRefused: the scheme is not supported, the address holds credentials, or it names no bucket.
    """
    match = _ADDRESS.fullmatch(str(text))
    if match is None:
        return Path(text)
    scheme, rest = match["scheme"].lower(), match["rest"] or ""
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise AddressRefused(f"addresses of type {scheme}:// are not supported: use {known} or a path")
    refuse_credentials(str(text))
    if scheme == "file":
        return Path("/", urllib.parse.unquote(rest.removeprefix("/")))
    bucket, *parts = (part for part in rest.split("/") if part) if rest.strip("/") else ("",)
    if not _BUCKET.fullmatch(bucket):
        raise AddressRefused(f"a {scheme}:// address must begin with the name of a bucket: {scheme}://BUCKET/PREFIX")
    if odd := next((part for part in parts if part.startswith(".")), None):
        raise AddressRefused(f"{scheme}://{bucket}: {odd!r} begins with a dot, which no part of an address may")
    return Path(cache_folder() / _OBJECTS, scheme, bucket, *parts)


def refuse_credentials(text: str) -> None:
    """Refuse an address that holds a name, a key or a password; the message does not repeat it.

    Raises:
        AddressRefused: the part before the first single slash contains `@` or `:`, or there is a query.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or match["scheme"].lower() not in ("s3", "gs", "gcs"):
        return
    rest = (match["rest"] or "").removeprefix("/")
    bucket = rest.partition("/")[0]
    if "@" in bucket or ":" in bucket or re.match(r"[^?@]*:[^?@]*@", rest) or "?" in rest:
        raise AddressRefused(
            f"a {match['scheme']}:// address must not hold credentials or options, which would appear in logs: set "
            "them in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, …), on every node of a cluster"
        )


def iter_texts(tree: object, at: str = "") -> Iterator[tuple[str, str]]:
    """The texts in a tree of mappings and lists, with their dotted paths."""
    if isinstance(tree, str):
        yield at, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from iter_texts(value, f"{at}.{key}" if at else str(key))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from iter_texts(value, f"{at}.{number}" if at else str(number))


def place_of(path: Path) -> Place | None:
    """The place that a path stands for; None for a path of this machine.

    A part that begins with a dot marks a working file of herbray: it stays on this machine.
    """
    parts = path.parts
    if _OBJECTS not in parts:
        return None
    scheme, bucket, *key = (*parts[parts.index(_OBJECTS) + 1 :], "", "")[: max(2, len(parts))]
    key = [part for part in key if part]
    if scheme not in ("s3", "gs") or not bucket or any(part.startswith(".") for part in key):
        return None
    return Place(scheme, bucket, "/".join(key))


def is_remote(path: Path) -> bool:
    """Whether a path stands for an address."""
    return place_of(path) is not None


def show(path: Path) -> str:
    """The path as users know it: an address for one that stands for an address."""
    return str(place_of(path) or path)


def show_all(text: str) -> str:
    """A text in which addresses stand in place of the paths of their local copies."""
    return _LOCAL_COPY.sub(r"\g<scheme>://", text) if _OBJECTS in text else text


def cache_folder() -> Path:
    """The folder of local copies: `HERBRAY_CACHE`, else one of this user in the folder of temporary files."""
    given = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(given or Path(tempfile.gettempdir(), f"herbray-{os.getuid()}")).absolute()


def cache_of(path: Path) -> Path:
    """The cache in which a path that stands for an address lies; the same on every node."""
    return Path(*path.parts[: path.parts.index(_OBJECTS)])
