"""From the rows of the core to staged rows of the catalogue: identity, names, and the choice of images."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from herbray.data.sources.darwin_core.archive.container import Container
from herbray.data.sources.darwin_core.archive.layout import Layout
from herbray.data.sources.darwin_core.identity import IDENTITY_TERMS, identify
from herbray.data.sources.darwin_core.ledger import Ledger
from herbray.data.sources.darwin_core.licenses import parse_license
from herbray.data.sources.darwin_core.local_images import AmbiguousName, find_in_folder
from herbray.data.sources.darwin_core.media import Media, is_address, split_references
from herbray.data.sources.darwin_core.rows import KEY, Row, read_rows
from herbray.data.sources.darwin_core.staging import MAX_IMAGES, StagedMedia, StagedRow, Staging
from herbray.data.sources.darwin_core.taxon import TAXON_TERMS, describe_gathering, parse_species

SeveralImages: TypeAlias = Literal["first", "largest", "all"]
"""Which images of a specimen are used."""

CELLS: Final = (
    *("order", "family", "genus", "species", "institution", "gathering", "catalog_number", "license"),
    *("rights_holder", "reference", "media_license", "media_license_text", "record_license", "record_license_text"),
)
"""The values of `StagedRow.cells`."""

_CORE_TERMS: Final = (
    *dict.fromkeys(
        (
            *(*IDENTITY_TERMS, *TAXON_TERMS, "gbifid", "basisofrecord", "ownerinstitutioncode", "license", "rights"),
            *("rightsholder", "references", "associatedmedia", "eventid", "evidenceforoccurrenceid"),
            "materialentitytype",
        )
    ),
)
_UNUSED: Final = "of_an_unused_record"
_UUID: Final = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_BASIS: Final = re.compile(r"^(?:https?://rs\.tdwg\.org/\S*/)?(?:[^\W\d]|[ \-]){1,60}$")


class Found(NamedTuple):
    """An image that was found, and the rank of how (`StagedRow.rank`)."""

    item: StagedMedia
    rank: int


@dataclass
class Collector:
    """What is needed to turn core rows into staged rows.

    Attributes:
        box: the archive.
        layout: of the archive.
        staging: holds the images.
        ledger: receives counts and refusals.
        several: which images of a specimen are used.
        basis: kinds of records to keep, folded by `fold_basis`; empty: all.
        has_folder: whether images are looked for in a folder of the user.
        counts: facts for the manifest.
        record: number of core rows so far.
    """

    box: Container
    layout: Layout
    staging: Staging
    ledger: Ledger
    several: SeveralImages
    basis: frozenset[str]
    has_folder: bool
    counts: Counter[str] = field(default_factory=Counter)
    record: int = 0

    def collect(self) -> Iterator[StagedRow]:
        """Stream the core; rows that are refused or left out are counted in the ledger."""
        core = self.layout.core
        tally = self.ledger.tally(core.name)
        for line, row in read_rows(self.box, core, _CORE_TERMS, self.ledger):
            key = row.get(KEY, "")
            self.record += 1
            self._complete(row, key)
            images = self.staging.find_media(key) if key else []
            if fault := self._find_fault(row, key, images):
                self.ledger.refuse(core.name, line, *fault, specimen=identify(row))
                self._drop_media(key if images else "")
            elif self.basis and fold_basis(row["basisofrecord"] or row["materialentitytype"]) not in self.basis:
                tally.left_out["basis_of_record"] += 1
                self._drop_media(key if images else "")
            else:
                yield from self._stage(row, key, line, images or [])

    def _complete(self, row: Row, key: str) -> None:
        """Fill empty terms from the other tables of a data package."""
        for table in self.layout.facts:
            ids = {"event": row["eventid"], "occurrence": row["evidenceforoccurrenceid"], "identification": key}
            facts = self.staging.find_facts(table.row_type, ids[table.row_type])
            row.update((term, value) for term, value in facts.items() if value and not row.get(term))

    def _find_fault(self, row: Row, key: str, images: Sequence[StagedMedia] | None) -> tuple[str, str] | None:
        """Why a row cannot be used: reason and detail."""
        if self.layout.media and not key:
            return "no_core_id", "the record has no id, so that its images cannot be found"
        if images is None:
            return "duplicate_core_id", f"an earlier record has the id {key!r:.100}"
        if len(images) > MAX_IMAGES:
            return "too_many_images", f"the record {key!r:.100} has more than {MAX_IMAGES} images"
        if term := find_shifted(row):
            return "shifted", f"{term} is {row[term]!r:.60}: the fields are not in the columns where they belong"
        if images and not (row["occurrenceid"] or row["materialentityid"]) and identify(row) is None:
            return "no_identity", "the record has neither an occurrenceID nor a catalogue number with its institution"
        return None

    def _drop_media(self, key: str) -> None:
        for source, count in (self.staging.count_media(key) if key else {}).items():
            self.ledger.tally(source).left_out[_UNUSED] += count

    def _stage(self, row: Row, key: str, line: int, images: Sequence[StagedMedia]) -> Iterator[StagedRow]:
        """Choose among the images of a record, or leave it out."""
        tally = self.ledger.tally(self.layout.core.name)
        if not images:
            self.counts["images_only_in_verbatim_table"] += self.staging.has_verbatim(key)
            listed = split_references(row["associatedmedia"], self.layout.core.separators)
            images = [StagedMedia(Media(each), "", line) for each in listed]
        if not images and self.has_folder:
            images = [StagedMedia(Media(""), "", line)]
        found, fault = self._locate_all(row, key, images)
        specimen = identify(row) if found else None
        if fault and not found:
            self.ledger.refuse(self.layout.core.name, line, *fault, specimen=identify(row))
        elif not found:
            reason = "not_in_folder" if self.has_folder else "no_usable_image" if images else "no_image"
            tally.left_out[reason] += 1
        elif specimen is None:
            self.ledger.refuse(
                self.layout.core.name, line, "no_identity",
                "the record has neither an occurrenceID nor a catalogue number with its institution",
            )  # fmt: skip
        else:
            yield from self._make_rows(row, line, specimen, self._choose(found))

    def _locate_all(
        self, row: Row, key: str, images: Sequence[StagedMedia]
    ) -> tuple[dict[str, Found], tuple[str, str] | None]:
        """Path or address → image and rank; and why images that the record itself lists cannot be used."""
        found: dict[str, Found] = {}
        fault = None
        for each in images:
            try:
                place = self._locate(each.media.image, row["catalognumber"], key)
                why = ("not_in_archive", f"the archive contains no image {each.media.image!r:.200}")
            except AmbiguousName as error:
                place, why = None, ("ambiguous", str(error))
            source = self.ledger.tally(each.source)
            if place and place[0] in found:
                source.left_out["repeated"] += 1
            elif place:
                found[place[0]] = Found(each, place[1])
            elif self.has_folder and why[0] == "not_in_archive":
                source.left_out["not_in_folder"] += 1
            elif each.source:
                self.ledger.refuse(each.source, each.line, *why, image=each.media.image)
            else:
                fault = why
        return found, fault

    def _locate(self, reference: str, catalog_number: str, key: str) -> tuple[str, int] | None:
        """Where an image is, and the rank of how it was found; None if it is nowhere.

        Raises:
            AmbiguousName: several files have its name.
        """
        if self.has_folder:
            return find_in_folder(self.staging, reference, catalog_number, key)
        place = reference if is_address(reference) else self.box.locate_image(self.layout.base, reference)
        return None if place is None else (place, 0)

    def _choose(self, found: dict[str, Found]) -> list[tuple[str, Found]]:
        """The images to use of those of one specimen; the others are counted as left out."""
        items = sorted(found.items(), key=lambda item: item[1].item.media.thumbnail)
        full = [item for item in items if not item[1].item.media.thumbnail] or items[:1]
        chosen = full if self.several == "all" else full[:1]
        if self.several == "largest" and len(full) > 1:
            sizes = [each.item.media.pixels for _, each in full]
            if not all(sizes):
                sizes = [self.box.size_of(place) for place, _ in full]
            self.counts["largest_unknown"] += not all(sizes)
            chosen = [full[sizes.index(max(sizes))] if all(sizes) else full[0]]
        for item in items:
            if item not in chosen:
                self.ledger.tally(item[1].item.source).left_out["further_image"] += 1
        return chosen

    def _make_rows(
        self, row: Row, line: int, specimen: str, chosen: Sequence[tuple[str, Found]]
    ) -> Iterator[StagedRow]:
        species = parse_species(row)
        record_text = row["license"] or row["rights"]
        gathering = describe_gathering(row) or (f"specimen {specimen}" if len(chosen) > 1 else None)
        for place, ((media, source, media_line), rank) in chosen:
            cells = (
                *(row["order"], row["family"], row["genus"], species),
                *(row["institutioncode"] or row["ownerinstitutioncode"], gathering, row["catalognumber"]),
                *(media.license or media.license_text, media.rights_holder or row["rightsholder"], row["references"]),
                *(media.license, media.license_text, parse_license(record_text), record_text),
            )
            name = species or row["genus"] or row["scientificname"]
            tidy = [cell or None for cell in cells]
            yield StagedRow(specimen, place, rank, name, self.record, line, source, media_line, tidy)


def fold_basis(text: str) -> str:
    """A kind of record without differences of writing: "PRESERVED_SPECIMEN" and "PreservedSpecimen" are one."""
    return re.sub(r"[\W_]", "", text.rpartition("/")[2]).casefold()


def find_shifted(row: Row) -> str | None:
    """A term whose value belongs to another column: a delimiter inside a field shifts all that follow.

    Checked are terms that have a strict form: the kind of record, and the key of the data set, which is a UUID at GBIF.
    """
    if row["basisofrecord"] and not _BASIS.match(row["basisofrecord"]):
        return "basisofrecord"
    if row["gbifid"] and row["datasetkey"] and not _UUID.match(row["datasetkey"].lower()):
        return "datasetkey"
    return "gbifid" if row["datasetkey"] and row["gbifid"] and not row["gbifid"].isdecimal() else None
