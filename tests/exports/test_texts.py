import pytest
from export_cases import FORMULA, HOSTILE, LONG

from herbray.exports import texts


def test_a_line_holds_no_control_character_and_keeps_letters_of_every_script():
    line = texts.clean_line(HOSTILE)
    assert line.startswith(f"<b onclick=\"x\">{FORMULA}</b> 'quoted'")
    assert "שלום" in line
    assert not any(ord(letter) < 32 for letter in line)
    assert texts.clean_line("a\u2028b\x85c\r\nd") == "a b c d"
    assert texts.clean_line(None) == ""
    assert texts.clean_line(LONG, 20) == "Longissima xxxxxxxx…"


def test_a_remark_says_who_and_how_sure(batch):
    machine, *_, person = batch.opinions
    assert texts.write_remark(machine, batch) == (
        "Suggestion of a machine that no person has checked: encoder herbray-triplet v3 (0123456789ab) gives Borea a "
        "probability of 0.88, and Alba, the genus on file, 0.02. Most similar sheets: Borea (2). "
        f"[herbray 0.1.0, batch {batch.id}]"
    )
    assert texts.write_remark(person, batch).startswith("Ada judged Alba, the genus on file, right, by images of the")
    assert all(len(texts.write_remark(each, batch)) < 2000 for each in batch.opinions)


def test_names_are_split_and_the_finest_one_is_found():
    assert texts.split_name("Rubus caesius", "species") == {"genus": "Rubus", "species": "caesius"}
    assert texts.split_name("Rubus", "genus") == {"genus": "Rubus"}
    assert texts.split_name("bramble", "species") == {"species": "bramble"}  # a label that is no binomial
    sheet = {"order": "Rosales", "family": None, "genus": "Rubus", "species": None}
    assert texts.find_name(sheet) == ("Rubus", "genus")
    assert texts.find_name(dict.fromkeys(sheet)) == ("", "")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://example.org/2?a=1&b=<2>", "https://example.org/2?a=1&b=%3C2%3E"),
        ("urn:catalog:NY:1", "urn:catalog:NY:1"),
        ("javascript:alert(1)", ""),
        ("https://x.org/a b", ""),
        ("http://[", ""),
        ("/home/me/sheet.jpg", ""),
        (None, ""),
    ],
)
def test_only_addresses_that_are_safe_to_follow_are_addresses(text, address):
    assert texts.read_address(text) == address


def test_a_sheet_without_an_address_gets_one_from_its_id():
    sheet = {"reference": "javascript:alert(1)", "specimen_id": "NY 1/2"}
    assert texts.find_address(sheet) == "urn:x-herbray:specimen:NY%201%2F2"
    assert texts.read_orcid("0000-0002-1825-0097") == "https://orcid.org/0000-0002-1825-0097"
    assert texts.read_orcid("Ada") == ""
