"""Web Annotations and DiSSCo's events."""

import json
from collections import Counter

import jsonschema
from export_cases import FORMULA, HOSTILE, make_batch
from published import DISSCO, DISSCO_IDENTIFICATION, W3C_COLLECTION

from herbray.exports.formats import open_ds, web_annotations
from herbray.exports.texts import clean_line


def test_every_opinion_is_an_annotation_of_the_w3c(batch, tmp_path):
    written = web_annotations.write(batch, tmp_path)
    tree = json.loads(written.path.read_text(encoding="utf-8"))
    jsonschema.validate(tree, W3C_COLLECTION)
    items = tree["first"]["items"]
    assert tree["total"] == len(items) == len(batch.opinions) == written.rows
    assert Counter(item["motivation"] for item in items) == Counter(identifying=9, assessing=2, questioning=1)
    machine = items[0]
    assert machine["creator"] == {
        "id": "urn:x-herbray:encoder:0123456789abcdef",
        "type": "Software",
        "name": "herbray 0.1.0, encoder herbray-triplet v3",
        "schema:softwareVersion": "0123456789abcdef",
    }
    assert machine["target"]["id"] == "https://doi.org/10.3535/AAA-BBB-CCC"
    assert machine["body"][1]["schema:ratingValue"] == 0.875
    assert f"batch {batch.id}" in machine["body"][-1]["value"]
    names = {item["creator"]["name"]: item["creator"].get("id") for item in items}
    assert names["0000-0002-1825-0097"] == "https://orcid.org/0000-0002-1825-0097"
    assert names["unknown"] is None
    hostile = next(item for item in items if item["target"]["dwc:occurrenceID"] == "s4")
    assert hostile["body"][0]["value"] == FORMULA  # exact: no spreadsheet reads it
    assert hostile["target"]["dwc:verbatimIdentification"] == clean_line(HOSTILE)


def test_dissco_gets_the_sheets_that_have_a_digital_specimen(batch, tmp_path):
    written = open_ds.write(batch, tmp_path)
    event = json.loads(written.path.read_text(encoding="utf-8"))
    jsonschema.validate(event, DISSCO)
    suggestion, doubt = event["annotations"]
    assert written.left_out == Counter({open_ds.NO_SPECIMEN: len(batch.opinions) - 2})
    assert suggestion["oa:motivation"] == "ods:adding"
    assert suggestion["oa:hasBody"]["ods:score"] == 0.875
    identification = json.loads(suggestion["oa:hasBody"]["oa:value"][0])
    jsonschema.validate(identification, DISSCO_IDENTIFICATION)
    assert identification["ods:hasTaxonIdentifications"][0]["dwc:scientificName"] == "Borea"
    assert not identification["ods:isVerifiedIdentification"]
    assert doubt["oa:motivation"] == "oa:assessing"
    assert doubt["dcterms:created"] == batch.at  # the verdict has no time


def test_the_same_batch_gives_the_same_bytes(batch, tmp_path):
    for module in (web_annotations, open_ds):
        first = module.write(batch, tmp_path).path.read_bytes()
        assert module.write(make_batch(), tmp_path).path.read_bytes() == first
