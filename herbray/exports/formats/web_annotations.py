"""Web Annotations of the W3C, as JSON-LD: one collection, one annotation per suggestion or verdict.

The form follows the recommendations "Web Annotation Data Model" and "Web Annotation Vocabulary" of 2017-02-23.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from herbray.exports.batch import Batch, Opinion, Written
from herbray.exports.texts import clean_line, find_address, read_orcid, write_remark
from herbray.storage import write_text

CONTEXT: Final = [
    "http://www.w3.org/ns/anno.jsonld",
    {"assessing": "oa:assessing", "dwc": "http://rs.tdwg.org/dwc/terms/"},  # the W3C's file lacks this motivation
]

_MOTIVATIONS: Final = {"suggested": "identifying", "wrong": "assessing", "right": "assessing", "maybe": "questioning"}


def write(batch: Batch, folder: Path) -> Written:
    """Write `annotations.jsonld`."""
    path = folder / "annotations.jsonld"
    annotations = [_annotate(opinion, batch) for opinion in batch.opinions]
    collection = {
        "@context": CONTEXT,
        "id": f"urn:uuid:{batch.id}",
        "type": "AnnotationCollection",
        "label": batch.title,
        "creator": _describe_software(batch),
        "total": len(annotations),
        "first": {
            "id": f"urn:uuid:{batch.id}#page",
            "type": "AnnotationPage",
            "startIndex": 0,
            "items": annotations,
        },
    }
    write_text(path, json.dumps(collection, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Written(path, len(annotations), "annotations")


def _annotate(opinion: Opinion, batch: Batch) -> dict[str, Any]:
    identifying = opinion.verdict == "wrong" and opinion.name
    return {
        "id": f"urn:uuid:{opinion.id}",
        "type": "Annotation",
        "motivation": "identifying" if identifying else _MOTIVATIONS[opinion.verdict],
        "creator": _describe_creator(opinion, batch),
        "generator": _describe_software(batch),
        **({"created": opinion.at} if opinion.at else {}),
        "body": list(_describe_bodies(opinion, batch)),
        "target": _describe_target(opinion),
    }


def _describe_bodies(opinion: Opinion, batch: Batch) -> Iterator[dict[str, Any]]:
    """The name that is proposed, how probable it is, and a remark for people."""
    if opinion.name:
        yield {
            "type": ["TextualBody", "dwc:Identification"],
            "purpose": "identifying",
            "format": "text/plain",
            "value": clean_line(opinion.name),
            "dwc:scientificName": clean_line(opinion.name),
            "dwc:taxonRank": opinion.rank,
            "dwc:identificationID": opinion.id,
        }
    if opinion.probability is not None:
        yield {
            "type": "schema:Rating",
            "schema:ratingValue": round(opinion.probability, 4),
            "schema:worstRating": 0,
            "schema:bestRating": 1,
            "schema:ratingExplanation": "probability of the proposed name, out of fold",
        }
    remark = write_remark(opinion, batch)
    yield {"type": "TextualBody", "purpose": "commenting", "format": "text/plain", "language": "en", "value": remark}


def _describe_target(opinion: Opinion) -> dict[str, Any]:
    sheet = opinion.sheet
    terms = {
        "dwc:occurrenceID": sheet["specimen_id"],
        "dwc:institutionCode": sheet["institution"],
        "dwc:catalogNumber": sheet["catalog_number"],
        "dwc:verbatimIdentification": opinion.given,
    }
    return {
        "id": find_address(sheet),
        "type": "dwc:PreservedSpecimen",
        **{term: clean_line(text) for term, text in terms.items() if text},
    }


def _describe_creator(opinion: Opinion, batch: Batch) -> dict[str, Any]:
    """The encoder with its fingerprint, or the reviewer, by ORCID if the reviewer gave one."""
    name = clean_line(opinion.by) or "unknown"
    if not opinion.is_machine:
        orcid = read_orcid(opinion.by)
        return {**({"id": orcid} if orcid else {}), "type": "Person", "name": name}
    version = clean_line(batch.fingerprint)
    key = f"urn:x-herbray:encoder:{version}"
    return {"id": key, "type": "Software", "name": name, "schema:softwareVersion": version}


def _describe_software(batch: Batch) -> dict[str, str]:
    return {"type": "Software", "name": batch.software}
