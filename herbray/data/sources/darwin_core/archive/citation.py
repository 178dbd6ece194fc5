"""How the data of an archive want to be cited: the DOI of the download, and the citation in its metadata."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.layout import Layout
from herbray.data.sources.darwin_core.archive.xml import Element, local_name, parse_xml

_DOI: Final = re.compile(r"\b(10\.\d{4,9}/[-._;()/:A-Za-z0-9]*[A-Za-z0-9])")
_REQUEST: Final = "CITEME.txt"  # of Symbiota; its metadata cite only the portal
_FILES: Final = ("citations.txt", "records.citation.txt")
_REQUESTED: Final = re.compile(r"Biodiversity occurrence data published by:.*")
_MAX_CHARACTERS: Final = 2000


@dataclass(frozen=True)
class Citation:
    """Where the data come from.

    Attributes:
        doi: of the download or data set, without "https://doi.org/"; empty: none is given.
        title: of the download or data set.
        text: the citation, with the DOI if there is one.
        license: of the records as a whole, as the publisher wrote it.
    """

    doi: str = ""
    title: str = ""
    text: str = ""
    license: str = ""


def read_citation(box: Container, layout: Layout) -> Citation:
    """Read the citation from the metadata (EML), else from the files in which portals put it.

    Raises:
        ValueError: the metadata are no well-formed XML, or have a document type.
    """
    doi = title = text = rights = ""
    if layout.metadata is not None:
        root = parse_xml(box.read_note(layout.metadata), box.path, layout.metadata)
        title = next(_texts(root, "title"), "")
        text = next(_texts(root, "citation"), "")
        rights = next(_texts(root, "intellectualrights"), "")
        doi = _find_doi(root)
    if name := box.find(_REQUEST):
        request = box.read_note(name).decode("utf-8", "replace")
        text = _tidy(found[0] if (found := _REQUESTED.search(request)) else request)
    elif not text:
        name = next(filter(None, map(box.find, _FILES)), None)
        text = _tidy(box.read_note(name).decode("utf-8", "replace")) if name else title
    if doi and doi not in text:
        text = f"{text} https://doi.org/{doi}".strip()
    elif doi and f"doi.org/{doi}" not in text:
        text = text.replace(doi, f"https://doi.org/{doi}", 1)
    return Citation(doi, title, text, rights)


def _find_doi(root: Element) -> str:
    """The DOI among the identifiers of the document."""
    written = [root.get("packageId", ""), *_texts(root, "alternateidentifier")]
    written += [each.get("identifier", "") for each in root.iter() if local_name(each) == "citation"]
    return next((found[1] for each in written if (found := _DOI.search(each or ""))), "")


def _texts(root: Element, name: str) -> Iterator[str]:
    """The texts of all elements of a name, tidied; empty ones are left out."""
    for each in root.iter():
        if local_name(each) == name and (text := _tidy(" ".join(part.text or "" for part in each.iter()))):
            yield text


def _tidy(text: str) -> str:
    """One line of printable text, not longer than the citations of a large download may be."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _MAX_CHARACTERS]).split())[
        :_MAX_CHARACTERS
    ]
