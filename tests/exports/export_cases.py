"""A batch with metadata that strangers wrote."""

import numpy as np
import pyarrow as pa

from herbray import schema
from herbray.exports.batch import Batch, Collection
from herbray.exports.collect import Machine, collect

FORMULA = '=HYPERLINK("http://evil","x")'
HOSTILE = f'<b onclick="x">{FORMULA}</b>\n\'quoted\', "twice";\ttab \x00\x1b[31m שלום \u202eevil'
LONG = "Longissima " + "x" * 10_000
SHEETS = [  # id, genus, species, catalog number, reference
    ("s1", "Alba", "Alba maxima", "NY 1", "https://doi.org/10.3535/AAA-BBB-CCC"),
    ("s2", "Alba", "Alba minor", "NY 2", "https://example.org/2?a=1&b=<2>"),
    ("s3", "Borea", None, None, "javascript:alert(1)"),
    ("s4", HOSTILE, None, "NY\\4\\", None),
    ("s5", "Alba", None, "=1+1", None),
    ("s6", "Borea", None, "NY 6", None),
    ("s7", LONG, None, "NY 7", None),
    ("urn:catalog:K:8", "Borea", None, "K 8", None),
    ("s9", "Alba", "Alba maxima", "NY 9", None),
]


def make_sheets():
    rows = []
    for specimen, genus, species, number, reference in SHEETS:
        row = dict.fromkeys((*schema.SPECIMEN.names, "split", "image"))
        row |= {"specimen_id": specimen, "genus": genus, "species": species, "catalog_number": number}
        row |= {"family": "Albaceae", "reference": reference, "split": "random", "image": f"/sheets/{specimen}.jpg"}
        row["institution"] = "K" if specimen.startswith("urn") else "NY"
        rows.append(row)
    rows[1]["image"] = "https://example.org/2.jpg"
    fields = [*schema.SPECIMEN, pa.field("split", pa.string()), pa.field("image", pa.string())]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields)).sort_by("specimen_id")


def make_suspects(*rows):
    listed = []
    for place, (specimen, given, suggested) in enumerate(rows, 1):
        row = {"place": place, "specimen_id": specimen, "rank": "genus", "given": given, "suggested": suggested}
        row |= {"given_probability": 0.02, "suggested_probability": 0.875, "suspected": True}
        row |= {"wrong_probability": 0.9, "kind": "name"}
        listed.append(row | {"neighbours": ["s1"], "neighbour_names": ["Borea", "Borea", ""]})
    return pa.Table.from_pylist(listed, schema=schema.SUSPECT)


def make_verdicts(*rows):
    names = ("at", "reviewer", "specimen_id", "given", "verdict", "name", "note")
    listed = [dict(zip(names, row, strict=True), rank="genus", id=str(at)) for at, row in enumerate(rows)]
    return pa.Table.from_pylist(listed, schema=schema.VERDICT)


SUSPECTS = make_suspects(
    ("s1", "Alba", "Borea"),
    ("s2", "Alba", "Borea"),  # a reviewer has decided
    ("s3", "Borea", "Alba"),  # no catalogue number
    ("s4", HOSTILE, FORMULA),
    ("s5", "Alba", "Borea"),
    ("s6", "Borea", LONG),
    ("s7", LONG, "Alba"),
    ("s9", "Borea", "Alba"),  # has another name by now
    ("s0", "Alba", "Borea"),  # gone
    ("urn:catalog:K:8", "Borea", "Alba"),
)
VERDICTS = make_verdicts(
    ("2026-03-01T09:30:00.000Z", "0000-0002-1825-0097", "s2", "Alba", "wrong", "Borea", f"clear: {HOSTILE}"),
    ("2026-03-02T09:30:00.000Z", "Ben", "s2", "Alba", "wrong", "Borea", None),
    ("", "", "s1", "Alba", "maybe", None, None),
    ("2026-03-02T10:00:00.000Z", "Ada", "s9", "Alba", "right", None, None),
    ("2026-03-02T10:01:00.000Z", "Ada", "s6", "Borea", "wrong", "Erema", None),
    ("2026-03-02T10:02:00.000Z", "Ben", "s6", "Borea", "right", None, None),
    ("2026-03-02T10:03:00.000Z", "Ben", "s5", "Alba", "wrong", None, None),
    ("2026-03-02T10:04:00.000Z", "Ben", "s5", "Alba", "open", None, None),
)


def make_batch(suspects=SUSPECTS, verdicts=VERDICTS, institution=None, **settings):
    machine = Machine("herbray 0.1.0, encoder herbray-triplet v3", "0123456789abcdef", "2026-02-28T12:00:00Z")
    sheets = make_sheets()
    opinions, left_out = collect(suspects, verdicts, sheets, machine, institution)
    features = np.random.default_rng(0).standard_normal((len(sheets), 5)).astype(np.float32)
    return Batch(
        encoder="herbray-triplet v3",
        fingerprint=machine.fingerprint,
        software="herbray 0.1.0",
        at=machine.at,
        title="Sheets <of> & NY",
        opinions=tuple(opinions),
        left_out=left_out,
        collection=Collection(sheets, features),
        neighbours=3,
        **settings,
    )
