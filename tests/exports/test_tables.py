"""The CSV exports: Symbiota, Specify, BRAHMS."""

import csv
from collections import Counter

import pytest
from export_cases import HOSTILE, LONG, make_batch, make_suspects, make_verdicts
from published import SYMBIOTA, SYMBIOTA_REQUIRED

from herbray.exports.determinations import DISPUTED
from herbray.exports.formats import brahms, specify, symbiota
from herbray.exports.texts import clean_line
from herbray.spreadsheet import unescape_formula


def read(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize(("key", "subject"), [("catalog_number", "catalogNumber"), ("specimen_id", "occurrenceID")])
def test_symbiota_takes_every_row(tmp_path, key, subject):
    written = symbiota.write(make_batch(key=key, current=True), tmp_path)
    rows = read(written.path)
    assert len(rows) == written.rows > 0
    assert set(rows[0]) == {subject, *symbiota.COLUMNS}
    for row in rows:
        assert all(row[name] for name in (subject, *SYMBIOTA_REQUIRED))
        assert all(len(text) <= SYMBIOTA[name] + text.startswith("'") for name, text in row.items())
        assert "\n" not in "".join(row.values())
        assert "\\" not in "".join(row.values())  # PHP's fgetcsv takes it for an escape
    current = [(row[subject], row["identifiedBy"]) for row in rows if row["isCurrent"] == "1"]
    assert current == (
        [("NY 2", "Ben"), ("NY 9", "Ada")] if key == "catalog_number" else [("s2", "Ben"), ("s9", "Ada")]
    )


def test_nothing_is_current_unless_told_and_what_a_row_cannot_hold_is_counted(batch, tmp_path):
    written = symbiota.write(batch, tmp_path)
    rows = read(written.path)
    assert {row["isCurrent"] for row in rows} == {"0"}
    assert [row["catalogNumber"] for row in rows] == ["NY 1", "NY/4/", "'=1+1", "NY 7", "K 8", "NY 2", "NY 2", "NY 9"]
    assert written.left_out == Counter({DISPUTED: 3, "no catalogNumber": 1})
    machine, person = rows[0], rows[-1]
    assert (machine["sciname"], machine["dateIdentified"]) == ("Borea", "2026-02-28")
    assert machine["identificationVerificationStatus"] == "unverified"
    assert machine["identificationRemarks"].startswith("Suggestion of a machine that no person has checked")
    assert (person["identifiedBy"], person["sciname"]) == ("Ada", "Alba")
    assert str(written).endswith(f"8 determinations; 1 left out: no catalogNumber; 3 left out: {DISPUTED}")


def test_names_that_are_too_long_and_reviewers_without_a_name_are_handled(tmp_path):
    suspects = make_suspects(("s1", "Alba", LONG))
    verdicts = make_verdicts(("", "", "s2", "Alba", "wrong", "Borea", None))
    written = symbiota.write(make_batch(suspects, verdicts), tmp_path)
    (row,) = read(written.path)
    assert (row["identifiedBy"], row["dateIdentified"]) == ("unknown", "s.d.")
    assert written.left_out == Counter({"sciname longer than 255 characters": 1})


@pytest.mark.parametrize("module", [symbiota, specify, brahms])
def test_no_cell_is_a_formula_and_texts_survive(module, batch, tmp_path):
    written = module.write(batch, tmp_path)
    rows = read(written.path)
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    assert any("שלום" in cell for cell in cells)
    notes = [unescape_formula(cell) for cell in cells if "clear: " in cell]
    assert clean_line(f"clear: {HOSTILE}").split("'")[0] in notes[0]


def test_specify_and_brahms_get_names_and_dates_in_parts(batch, tmp_path):
    first = read(specify.write(batch, tmp_path).path)[0]
    assert {name: first[name] for name in ("Catalog Number", "Genus", "Species", "Determined Date", "Is Current")} == {
        "Catalog Number": "NY 1",
        "Genus": "Borea",
        "Species": "",
        "Determined Date": "2026-02-28",
        "Is Current": "false",
    }
    assert first["Confidence"] == "0.8750"
    first = read(brahms.write(batch, tmp_path).path)[0]
    assert (first["Barcode"], first["GenusName"], first["DetYear"], first["DetMonth"], first["DetDay"]) == (
        *("NY 1", "Borea", "2026", "02", "28"),
    )
