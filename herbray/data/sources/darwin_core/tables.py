"""Putting the tables beside the core into the staging: images, links, verbatim rows, facts of data packages."""

from collections.abc import Iterator
from typing import Final

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.layout import Layout, Table
from herbray.data.sources.darwin_core.ledger import Ledger
from herbray.data.sources.darwin_core.media import (
    MEDIA_TERMS,
    Media,
    find_reference,
    is_image,
    make_media,
    split_references,
)
from herbray.data.sources.darwin_core.rows import KEY, read_rows
from herbray.data.sources.darwin_core.staging import Staging
from herbray.data.sources.darwin_core.taxon import TAXON_TERMS

_FACT_TERMS: Final = ("datasetid", "basisofrecord", *TAXON_TERMS)
_NOT_ACCEPTED: Final = frozenset(("false", "0", "no"))


def stage_tables(box: Container, layout: Layout, staging: Staging, ledger: Ledger) -> None:
    """Read all tables except the core.

    Raises:
        ValueError: a file is damaged, or its header contradicts the descriptor.
    """
    for table in layout.media:
        staging.add_media(_read_media(box, table, ledger, is_package=bool(layout.links)))
    for table in layout.links:
        staging.add_links(_read_links(box, table, ledger))
    if layout.links:
        _join_links(layout, staging, ledger)
    for table in layout.verbatim:
        staging.add_verbatim(_read_verbatim(box, table, ledger))
    for table in layout.facts:
        staging.add_facts(table.row_type, _read_facts(box, table, ledger))
    staging.index_media()


def _read_media(
    box: Container, table: Table, ledger: Ledger, is_package: bool
) -> Iterator[tuple[str, Media, str, int]]:
    tally = ledger.tally(table.name)
    for line, row in read_rows(box, table, MEDIA_TERMS, ledger):
        key = row["mediaid"] if is_package else row.get(KEY, "")
        reference = find_reference(row)
        if not is_image(row, reference or ""):
            tally.left_out["not_an_image"] += 1
        elif not key:
            ledger.refuse(
                table.name, line, "no_core_id", "the row does not say which record it belongs to", None, reference
            )
        elif reference is None:
            given = row["accessuri"] or row["identifier"] or row["goodqualityaccessuri"]
            ledger.refuse(
                table.name,
                line,
                "no_address",
                f"{given!r:.200} is neither an address of the web nor a file",
                None,
                given,
            )
        else:
            yield key, make_media(row, reference), table.name, line


def _read_links(box: Container, table: Table, ledger: Ledger) -> Iterator[tuple[str, str, str, int]]:
    tally = ledger.tally(table.name)
    for line, row in read_rows(box, table, ("mediaid",), ledger):
        if row.get(KEY) and row["mediaid"]:
            tally.used += 1
            yield row[KEY], row["mediaid"], table.name, line
        else:
            ledger.refuse(table.name, line, "no_core_id", "the row lacks the id of an image or of a specimen")


def _join_links(layout: Layout, staging: Staging, ledger: Ledger) -> None:
    """Join images with the ids of their specimens.

    The tally of images counts pairs from here on: an image of two specimens is two rows.
    """
    staged = staging.count_rows()
    dangling, unlinked = staging.join_links()
    tally = ledger.tally(layout.media[0].name)
    tally.rows += staging.count_rows() - (staged - unlinked)
    tally.left_out["of_no_specimen"] += unlinked
    for source, _, _ in dangling:
        ledger.tally(source).used -= 1
        ledger.tally(source).left_out["of_no_image"] += 1


def _read_verbatim(box: Container, table: Table, ledger: Ledger) -> Iterator[str]:
    tally = ledger.tally(table.name)
    terms = ("associatedmedia", *MEDIA_TERMS)
    for _, row in read_rows(box, table, terms, ledger):
        listed = split_references(row["associatedmedia"], table.separators)
        has_image = listed or (table.row_type != "occurrence" and find_reference(row))
        tally.used += 1
        if has_image and row.get(KEY):
            yield row[KEY]


def _read_facts(box: Container, table: Table, ledger: Ledger) -> Iterator[tuple[str, dict[str, str]]]:
    tally = ledger.tally(table.name)
    keys = [
        term
        for term, columns in table.columns.items()
        if term.endswith(("basedonmaterialentityid", "basedonoccurrenceid"))
    ]
    terms = tuple(dict.fromkeys((*_FACT_TERMS, "isacceptedidentification", *keys)))
    for _, row in read_rows(box, table, terms, ledger):
        tally.used += 1
        accepted = row.pop("isacceptedidentification").lower()
        ids = {row.pop(term) for term in keys} or {row.get(KEY, "")}
        facts = {term: row[term] for term in _FACT_TERMS if row[term]}
        if accepted not in _NOT_ACCEPTED:
            for key in ids - {""}:
                yield key, facts
