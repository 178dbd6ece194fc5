"""The exports against the published schemas themselves. They are not ours to ship, so this test needs checkouts.

HERBRAY_SCHEMAS is a folder with checkouts of github.com/DiSSCo/openDS and github.com/gbif/rs.gbif.org, named `openDS`
and `rs.gbif.org`. Without it, the other tests compare the exports with what `published.py` says of these schemas.
"""

import json
import os
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from herbray.exports.formats import darwin_core, open_ds

SCHEMAS = Path(os.environ.get("HERBRAY_SCHEMAS", "absent"))
EVENT = "https://schemas.dissco.tech/schemas/developer-schema/annotation/0.4.0/annotation-processing-event.json"
IDENTIFICATION = "https://schemas.dissco.tech/schemas/fdo-type/digital-specimen/0.4.0/identification.json"

pytestmark = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="needs HERBRAY_SCHEMAS, a folder of checkouts")


@pytest.fixture(scope="module")
def registry():
    found = Registry()
    for path in (SCHEMAS / "openDS" / "data-model").rglob("*/0.4.0/schema/*.json"):
        tree = json.loads(path.read_text(encoding="utf-8"))
        folder = path.relative_to(SCHEMAS / "openDS" / "data-model").parts[:-2]
        address = "/".join(
            ["https://schemas.dissco.tech/schemas", *folder, path.name]
        )  # one `$id` is of another folder
        found = found.with_resource(address, Resource.from_contents(tree | {"$id": address}))
    return found


def test_the_event_and_its_identifications_are_valid_in_open_ds(batch, tmp_path, registry):
    event = json.loads(open_ds.write(batch, tmp_path).path.read_text(encoding="utf-8"))
    Draft202012Validator({"$ref": EVENT}, registry=registry).validate(event)
    added = [each for each in event["annotations"] if each["oa:motivation"] == "ods:adding"]
    assert added
    for each in added:
        identification = json.loads(each["oa:hasBody"]["oa:value"][0])
        Draft202012Validator({"$ref": IDENTIFICATION}, registry=registry).validate(identification)
    del event["jobId"]
    assert not Draft202012Validator({"$ref": EVENT}, registry=registry).is_valid(event)


@pytest.mark.parametrize(
    ("tag", "file"),
    [
        ("core", "core/dwc_occurrence_2025-07-10.xml"),
        ("extension", "extension/dwc/identification_history_2025-07-10.xml"),
    ],
)
def test_gbif_knows_every_term(tag, file):
    text = (SCHEMAS / "rs.gbif.org" / file).read_text(encoding="utf-8")
    known = set(re.findall(r"qualName='([^']+)'", text))
    part = re.search(rf"<{tag} .*</{tag}>", darwin_core.META, re.DOTALL)[0]
    used = re.findall(r'term="([^"]+)"', part)
    assert used
    assert set(used) <= known
    row_type = re.search(r"rowType='([^']+)'", text)[1]
    assert f'rowType="{row_type}"' in part
