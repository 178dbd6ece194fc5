"""A Darwin Core Archive: the sheets as occurrences, all their names in the Identification History extension.

The terms are those of GBIF's Occurrence core and of its extension "Darwin Core Identification History", both of
2025-07-10 (rs.gbif.org), the descriptor follows TDWG's Darwin Core text guide, the metadata EML 2.2.0 in the GBIF
profile 1.3. Rows are lines of cells that are separated by tabs and not quoted; line breaks and tabs within a text
become spaces. Texts are not escaped for spreadsheet programs: identifiers must stay those of the collection.
"""

import html
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from herbray.exports.batch import Batch, Opinion, Sheet, Written, derive_id
from herbray.exports.determinations import select_determinations
from herbray.exports.texts import clean_line, find_name, read_address, split_name, write_remark
from herbray.storage import replace_file, write_text

_TERMS: Final = "http://rs.tdwg.org/dwc/terms/"
_DUBLIN_CORE: Final = "http://purl.org/dc/terms/"

CORE: Final = {
    "occurrenceID": _TERMS,
    "basisOfRecord": _TERMS,
    "institutionCode": _TERMS,
    "catalogNumber": _TERMS,
    "scientificName": _TERMS,
    "taxonRank": _TERMS,
    "order": _TERMS,
    "family": _TERMS,
    "genus": _TERMS,
    "specificEpithet": _TERMS,
    "license": _DUBLIN_CORE,
    "rightsHolder": _DUBLIN_CORE,
    "references": _DUBLIN_CORE,
    "associatedMedia": _TERMS,
}
"""Term → its namespace, in the order of the columns of `occurrence.txt`; the first one is the key."""

IDENTIFICATION: Final = (
    "identificationID",
    "scientificName",
    "taxonRank",
    "order",
    "family",
    "genus",
    "specificEpithet",
    "identifiedBy",
    "dateIdentified",
    "identificationVerificationStatus",
    "identificationRemarks",
)
"""Terms of the columns of `identification.txt`, after the key of the occurrence."""

_STARTED: Final = (1980, 1, 1, 0, 0, 0)  # the same batch gives the same archive, byte for byte


def write(batch: Batch, folder: Path) -> Written:
    """Write `darwin-core.zip`, and its extension file alone, `darwin-core-identification.txt`."""
    rows, left_out = [], Written(folder, 0, "").left_out
    kept: dict[str, list[Opinion]] = {}
    for opinion, _, reason in select_determinations(batch.opinions):
        if reason:
            left_out[reason] += 1
        else:
            kept.setdefault(opinion.sheet["specimen_id"] or "", []).append(opinion)
    for opinions in kept.values():
        rows += [_fill_filed_name(opinions[0].sheet), *(_fill_opinion(each, batch) for each in opinions)]
    core = _join(CORE, [_fill_occurrence(opinions, batch) for opinions in kept.values()])
    extension = _join(("occurrenceID", *IDENTIFICATION), rows)
    write_text(folder / "darwin-core-identification.txt", extension)
    texts = {"meta.xml": META, "eml.xml": write_eml(batch), "occurrence.txt": core, "identification.txt": extension}
    path = folder / "darwin-core.zip"
    with replace_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _STARTED), text.encode(), zipfile.ZIP_DEFLATED)
    return Written(path, len(rows), f"identifications of {len(kept):,} occurrences", left_out)


def _join(header: Iterable[str], rows: Sequence[dict[str, str]]) -> str:
    names = list(header)
    lines = [names, *([clean_line(row.get(name)) for name in names] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _fill_occurrence(opinions: Sequence[Opinion], batch: Batch) -> dict[str, str]:
    """The occurrence of a sheet, with the name that is current."""
    sheet = opinions[0].sheet
    current = [each for each in opinions if batch.is_current(each) and each.verdict == "wrong"]
    names = _split(str(current[-1].name), current[-1].rank) if current else _split_filed(sheet)
    return {
        **names,
        "occurrenceID": sheet["specimen_id"] or "",
        "basisOfRecord": "PreservedSpecimen",
        "institutionCode": sheet["institution"] or "",
        "catalogNumber": sheet["catalog_number"] or "",
        "license": sheet["license"] or "",
        "rightsHolder": sheet["rights_holder"] or "",
        "references": read_address(sheet["reference"]),
        "associatedMedia": read_address(sheet["image"]),
    }


def _fill_filed_name(sheet: Sheet) -> dict[str, str]:
    key = sheet["specimen_id"]
    return {
        **_split_filed(sheet),
        "occurrenceID": key or "",
        "identificationID": derive_id(key, find_name(sheet)[0], "filed"),
        "identificationRemarks": "The name on file when herbray read the collection.",
    }


def _fill_opinion(opinion: Opinion, batch: Batch) -> dict[str, str]:
    return {
        **_split(str(opinion.name), opinion.rank),
        "occurrenceID": opinion.sheet["specimen_id"] or "",
        "identificationID": opinion.id,
        "identifiedBy": opinion.by,
        "dateIdentified": opinion.date,
        "identificationVerificationStatus": "unverified" if opinion.is_machine else "judged by images",
        "identificationRemarks": write_remark(opinion, batch),
    }


def _split_filed(sheet: Sheet) -> dict[str, str]:
    """The terms of the name on file, with its higher ranks."""
    name, rank = find_name(sheet)
    higher = {each: sheet[each] or "" for each in ("order", "family", "genus")}
    return {**higher, **_split(name, rank)}


def _split(name: str, rank: str) -> dict[str, str]:
    parts = split_name(clean_line(name), rank)
    terms = {"specificEpithet" if part == "species" else part: text for part, text in parts.items()}
    return {**terms, "scientificName": name, "taxonRank": rank}


def _describe_file(tag: str, location: str, row_type: str, terms: Sequence[str]) -> str:
    key = "id" if tag == "core" else "coreid"
    fields = "\n".join(f'    <field index="{at}" term="{term}"/>' for at, term in enumerate(terms) if term)
    return f"""  <{tag} rowType="{_TERMS}{row_type}" encoding="UTF-8"
      fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1">
    <files><location>{location}</location></files>
    <{key} index="0"/>
{fields}
  </{tag}>"""


META: Final = f"""<?xml version="1.0" encoding="UTF-8"?>
<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="eml.xml">
{_describe_file("core", "occurrence.txt", "Occurrence", [f"{space}{name}" for name, space in CORE.items()])}
{_describe_file("extension", "identification.txt", "Identification", ["", *(_TERMS + name for name in IDENTIFICATION)])}
</archive>
"""
"""The descriptor of the archive."""


def write_eml(batch: Batch) -> str:
    """The metadata of the archive: what it is and how it was made; add people and a licence before you publish it."""
    title, how = html.escape(clean_line(batch.title)), html.escape(clean_line(f"{batch.software}, {batch.encoder}"))
    agent = f"<organizationName>{html.escape(batch.software)}</organizationName>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<eml:eml xmlns:eml="https://eml.ecoinformatics.org/eml-2.2.0" packageId="{batch.id}"
    system="http://gbif.org" scope="system" xml:lang="en">
  <dataset>
    <title xml:lang="en">{title}</title>
    <creator>{agent}</creator>
    <metadataProvider>{agent}</metadataProvider>
    <pubDate>{batch.at[:10]}</pubDate>
    <language>en</language>
    <abstract>
      <para>Names of herbarium sheets: those on file, suggestions of a machine, and verdicts of reviewers.</para>
    </abstract>
    <contact>{agent}</contact>
    <methods><methodStep><description><para>Suggestions: {how}.</para></description></methodStep></methods>
  </dataset>
</eml:eml>
"""
