"""XML of strangers, without entities, document types and external references."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring


class Element(Protocol):
    """An element of a parsed document, as in Python's ElementTree."""

    tag: str
    text: str | None

    def get(self, key: str, default: str = "") -> str:
        """An attribute."""

    def iter(self) -> Iterator["Element"]:
        """The element and all elements inside, in order."""

    def __iter__(self) -> Iterator["Element"]:
        """The elements directly inside."""


def parse_xml(data: bytes, path: Path, name: str) -> Element:
    """Parse a document.

    Args:
        data: of the document.
        path: of the archive, for messages.
        name: of the file, for messages.

    Raises:
        ValueError: it is not well-formed, or has a document type or entities.
    """
    try:
        root: Element = fromstring(data.strip(), forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError(
            f"{path}: {name} has a DOCTYPE or entities, which metadata never need; herbray does not read such archives"
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path}: {name} is not well-formed XML ({error}); ask the publisher to correct it") from None
    return root


def local_name(element: Element) -> str:
    """The name of an element without its namespace, in small letters; empty for a comment."""
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""
