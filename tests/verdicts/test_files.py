import csv

import pytest

from herbray import schema
from herbray.verdicts.files import read_verdicts

LINE = "a1,2026-03-01T09:30:00.000Z,Ada,NY 1,genus,Alba,wrong,Borea,flowers"
HEADER = ",".join(schema.VERDICT.names)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_every_form_that_spreadsheet_programs_save_gives_the_same_rows(tmp_path):
    cells = next(csv.reader([LINE]))
    shuffled = sorted(zip(schema.VERDICT.names, cells, strict=True))
    other = "\r\n".join(";".join(part) for part in zip(*[*shuffled, ("shelf", "7")], strict=True))
    tabs = f"{HEADER}\n{LINE}".replace(",", "\t")
    expected = dict(zip(schema.VERDICT.names, cells, strict=True))
    forms = (
        (f"{HEADER}\r\n{LINE}\r\n", "utf-8-sig"),
        (other, "utf-8"),
        (tabs, "utf-16"),
        (f"{HEADER}\n\n{LINE}", "utf-8"),
    )
    for number, (text, encoding) in enumerate(forms):
        table = read_verdicts(write(tmp_path / f"{number}.csv", text, encoding))
        assert table.schema == schema.VERDICT
        assert table.to_pylist() == [expected]
    assert read_verdicts(tmp_path).num_rows == 1  # four copies of one row


def test_rows_come_in_the_order_of_their_times_whatever_their_order_in_the_files(tmp_path):
    later = LINE.replace("a1", "a2").replace("09:30:00.000Z", "08:31:00-01:00")
    write(tmp_path / "a.csv", f"{HEADER}\n{later}\n")
    write(tmp_path / "b.csv", f"{HEADER}\n{LINE}\n")
    assert read_verdicts(tmp_path)["id"].to_pylist() == ["a1", "a2"]
    assert read_verdicts(tmp_path / "none").num_rows == 0
    assert read_verdicts(write(tmp_path / "empty.csv", "")).num_rows == 0


def test_a_table_that_a_person_began_needs_four_columns(tmp_path):
    text = "Specimen_ID,rank,given,verdict\nNY 1,Genus,Alba, WRONG\nNY 1,Genus,Alba, WRONG\n"
    (row,) = read_verdicts(write(tmp_path / "a.csv", text)).to_pylist()
    assert (row["rank"], row["verdict"], row["at"], row["reviewer"], row["name"]) == ("genus", "wrong", "", "", None)
    assert len(row["id"]) == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specimen_id,rank,given\n", "line 1: no column verdict"),
        ("specimen_id,rank,given,verdict,rank\n", "line 1: column rank twice"),
        (f"{HEADER}\n{LINE}\na2,2026", "line 3: 2 cells, but 9 columns; complete the row, or remove it"),
        (f"{HEADER}\n{LINE.replace('wrong', 'nonsense')}", "line 2: verdict 'nonsense' is none of wrong, right"),
        (f"{HEADER}\n{LINE.replace('genus', 'tribe')}", "line 2: rank 'tribe' is none of order, family"),
        (f"{HEADER}\n{LINE.replace('NY 1', ' ')}", "line 2: specimen_id is empty"),
        (
            f"{HEADER}\n{LINE.replace('2026-03-01T09:30:00.000Z', '1.3.26 9:30')}",
            "line 2: at '1.3.26 9:30' is not a time",
        ),
        (f'{HEADER}\n"{LINE}', "save the table as CSV"),
    ],
)
def test_what_cannot_be_a_verdict_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"a\.csv") as caught:
        read_verdicts(write(tmp_path / "a.csv", text))
    assert message in str(caught.value)


def test_another_encoding_is_refused_and_not_guessed(tmp_path):
    write(tmp_path / "a.csv", f"{HEADER}\n{LINE}\n{LINE.replace('Borea', 'Bórea')}\n", "cp1252")
    with pytest.raises(ValueError, match=r'a.csv, line 3: not utf-8 text.*"CSV UTF-8"'):
        read_verdicts(tmp_path)
