"""Annotations for DiSSCo: the event that a machine annotation service sends to the annotation processing service.

The form is openDS 0.4.0 (github.com/DiSSCo/openDS, `annotation-processing-event.json` and what it refers to). DiSSCo
annotates digital specimens, so only sheets with the DOI or handle of one can be annotated.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

from herbray.exports.batch import Batch, Opinion, Sheet, Written
from herbray.exports.texts import clean_line, read_address, read_orcid, split_name, write_remark
from herbray.storage import write_text

NO_SPECIMEN: Final = "no DOI or handle of a digital specimen in `reference` or `specimen_id`"

_SPECIMEN_TYPE: Final = "https://doi.org/21.T11148/894b1e6cad57e921764e"  # of openDS: digital specimen
_PID: Final = re.compile(r"https://(?:doi\.org|hdl\.handle\.net)/\S+/\S+")


def write(batch: Batch, folder: Path) -> Written:
    """Write `dissco-annotations.json`."""
    path, annotations = folder / "dissco-annotations.json", []
    left_out = Written(path, 0, "").left_out
    for opinion in batch.opinions:
        if address := find_specimen(opinion.sheet):
            annotations.append(_annotate(opinion, batch, address))
        else:
            left_out[NO_SPECIMEN] += 1
    event = {"jobId": f"urn:uuid:{batch.id}", "annotations": annotations}
    write_text(path, json.dumps(event, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Written(path, len(annotations), "annotations", left_out)


def find_specimen(sheet: Sheet) -> str:
    """The DOI or handle of the digital specimen of a sheet; "" if there is none."""
    addresses = map(read_address, (sheet["reference"], sheet["specimen_id"]))
    return next((address for address in addresses if _PID.fullmatch(address)), "")


def _annotate(opinion: Opinion, batch: Batch, address: str) -> dict[str, Any]:
    adds = opinion.name and opinion.verdict != "right"
    place = "$['ods:hasIdentifications']" if adds else "$"
    values = [json.dumps(_describe_identification(opinion, batch))] if adds else [write_remark(opinion, batch)]
    score = {} if opinion.probability is None else {"ods:score": round(opinion.probability, 4)}
    return {
        "oa:motivation": "ods:adding" if adds else "oa:assessing",
        "oa:motivatedBy": write_remark(opinion, batch),
        "oa:hasTarget": {
            "@id": address,
            "@type": "ods:DigitalSpecimen",
            "dcterms:identifier": address,
            "ods:fdoType": _SPECIMEN_TYPE,
            "oa:hasSelector": {"@type": "ods:ClassSelector", "ods:class": place},
        },
        "oa:hasBody": {"@type": "oa:TextualBody", "oa:value": values, **score},
        "dcterms:creator": _describe_agent(opinion, batch),
        "dcterms:created": opinion.at or batch.at,
    }


def _describe_agent(opinion: Opinion, batch: Batch) -> dict[str, Any]:
    name = clean_line(opinion.by) or "unknown"
    if opinion.is_machine:
        return {
            "@id": f"urn:x-herbray:encoder:{clean_line(batch.fingerprint)}",
            "@type": "schema:SoftwareApplication",
            "schema:name": name,
        }
    orcid = read_orcid(opinion.by)
    return {**({"@id": orcid} if orcid else {}), "@type": "schema:Person", "schema:name": name}


def _describe_identification(opinion: Opinion, batch: Batch) -> dict[str, Any]:
    """An `ods:Identification`, which the annotation proposes to add."""
    name = clean_line(opinion.name)
    parts = split_name(name, opinion.rank)
    terms = {f"dwc:{'specificEpithet' if rank == 'species' else rank}": part for rank, part in parts.items()}
    role = {"@type": "schema:Role", "schema:roleName": "identifier"}
    taxon = {"@type": "ods:TaxonIdentification", "dwc:scientificName": name, "dwc:taxonRank": opinion.rank, **terms}
    return {
        "@type": "ods:Identification",
        "dwc:identificationID": opinion.id,
        "ods:identificationType": "TaxonIdentification",
        **({"dwc:dateIdentified": opinion.date} if opinion.date else {}),
        "ods:isVerifiedIdentification": batch.is_current(opinion),
        "dwc:identificationRemarks": write_remark(opinion, batch),
        "ods:hasAgents": [{**_describe_agent(opinion, batch), "ods:hasRoles": [role]}],
        "ods:hasTaxonIdentifications": [taxon],
    }
