"""Ten ways in which people save a table of labels, and what is broken in some of them."""

import csv
import datetime
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herbray.data.tabular.header import fold, propose
from herbray.data.tabular.reading import Dialect, open_table
from herbray.data.tabular.records import MAX_LINES, read_records
from herbray.data.tabular.separators import find_separator

HEADER = ["file", "genus", "species", "collector"]
ROWS = [
    ["a.jpg", "Isoëtes", "Isoëtes lacustris", "Müller, F."],
    ["b.jpg", "Rubus", "Rubus caesius", 'called "Dewberry"'],
    ["c.jpg", "Zea", "Zea mays", "two\nlines; one, field"],
]


def write_text(path, separator=",", encoding="utf-8", end="\r\n", first="", header=HEADER, **options):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, **options).writerows([header, *ROWS])
    path.write_bytes((first + text.getvalue()).encode(encoding))


def write_workbook(path):
    openpyxl = pytest.importorskip("openpyxl", reason="a workbook is written by another library than it is read by")
    book = openpyxl.Workbook()
    for row in [HEADER, *ROWS]:
        book.active.append(row)
    book.save(path)


WAYS = {
    "comma": write_text,
    "semicolon": lambda path: write_text(path, ";"),
    "tab": lambda path: write_text(path, "\t"),
    "bar": lambda path: write_text(path, "|", quoting=csv.QUOTE_ALL),
    "sep=": lambda path: write_text(path, ";", first="sep=;\r\n"),
    "utf-8 with a mark": lambda path: write_text(path, encoding="utf-8-sig"),
    "utf-16": lambda path: write_text(path, "\t", encoding="utf-16"),
    "cp1252, told": lambda path: write_text(path, ";", encoding="cp1252"),
    "capitals, blanks": lambda path: write_text(path, header=[f" {name.upper()} " for name in HEADER]),
    "old Mac": lambda path: write_text(path, encoding="mac_roman", end="\r"),
    "Parquet": lambda path: pq.write_table(pa.table(dict(zip(HEADER, zip(*ROWS, strict=True), strict=True))), path),
    "workbook": write_workbook,
}
TOLD = {"cp1252, told": "cp1252", "old Mac": "mac_roman"}


def read(path, dialect=None):
    reports = []
    table = open_table(path, lambda *report: reports.append(report), dialect or Dialect())
    return table, [fields for _, fields in table.records], reports


@pytest.mark.parametrize("way", WAYS)
def test_ten_ways_to_save_one_table(tmp_path, way):
    if way == "workbook":
        pytest.importorskip("python_calamine", reason="reads workbooks")
    path = tmp_path / "labels.csv"  # the content says what it is
    WAYS[way](path)
    table, rows, reports = read(path, Dialect(encoding=TOLD.get(way)))
    assert list(table.positions) == HEADER
    assert rows == ROWS
    assert reports == []


def read_text(text, separator=","):
    reports = []
    records = list(read_records(io.StringIO(text, newline=""), separator, lambda *report: reports.append(report)))
    return records, reports


def test_lines_that_do_not_fit_are_reported_with_their_numbers():
    text = 'image,genus\na.jpg,A\nb.jpg,B,C\nc.jpg\n"d\n.jpg",D\ne.jpg,"E"x\n\nf.jpg,F\n'
    records, reports = read_text(text)
    assert records == [(1, ["image", "genus"]), (2, ["a.jpg", "A"]), (5, ["d\n.jpg", "D"]), (9, ["f.jpg", "F"])]
    assert [(line, reason) for line, reason, _ in reports] == [
        (3, "fields"),
        (4, "fields"),
        (7, "quote"),
        (8, "blank"),
    ]
    assert reports[0][2] == "3 fields where the header has 2"


def test_a_quote_that_is_not_closed_spoils_its_own_line():
    lines = [f"{number}.jpg,G{number}" for number in range(2 * MAX_LINES)]
    lines[3] = '3.jpg,"G3'
    lines[50] = '"50.jpg,G50'
    lines[52] = 'say "52".jpg,G52'
    lines[-2] = '8.jpg,"G8'
    records, reports = read_text("image,genus\n" + "\n".join(lines) + "\n")
    assert [line for line, reason, _ in reports if reason == "quote"] == [5, 52, len(lines)]
    assert len(records) - 1 + len(reports) == len(lines)
    assert [len(fields) for _, fields in records] == [2] * len(records)


def test_empty_columns_and_rows_at_the_end_are_passed_over():
    records, reports = read_text("image,genus,,\na.jpg,A,,\nb.jpg,B\n,,,\n \nc.jpg,C,,x\n")
    assert records == [(1, ["image", "genus"]), (2, ["a.jpg", "A"]), (3, ["b.jpg", "B"])]
    assert [(line, reason) for line, reason, _ in reports] == [(4, "blank"), (5, "blank"), (6, "fields")]


@pytest.mark.parametrize(
    ("lines", "separator"),
    [
        (["image\n", "a.jpg\n"], ","),
        (["image;genus, or family;x\n", "a.jpg;A;1,5\n"], ";"),
        (["image,genus,mask_boxes\n", "a.jpg,A,0 0 1 1; 0 0 1 1; 0 0 1 1\n"], ","),
        (["image|genus\n", "a, b.jpg|A\n"], "|"),
        (["a,b\tc\n", "1\t2\n", "3\t4\n"], "\t"),
        ([], ","),
    ],
)
def test_the_separator_is_found_from_the_header_and_the_rows(lines, separator):
    assert find_separator(lines) == separator


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=5).filter(str.strip)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_what_csv_writes_is_read_back_and_no_row_is_lost(rows, separator):
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([("image", "genus"), *rows])
    records, reports = read_text(text.getvalue(), separator)
    assert [tuple(fields) for _, fields in records[1:]] == rows
    assert reports == []
    broken = text.getvalue().replace("\r\n", '\r\n"', 1)  # a stray quote before the first cell of the first row
    records, reports = read_text(broken, separator)
    assert 1 + len(rows) <= len(records) + len(reports) + text.getvalue().count('"')


def test_the_cells_of_a_typed_table_become_texts(tmp_path):
    columns = {
        "image": ["a.jpg", "b.jpg"],
        "barcode": [12.0, None],
        "date": [datetime.date(1854, 3, 1), None],
        "many": [3, 4],
        "parts": [[1], [2]],
        "family": pa.array(["Rosaceae", "Poaceae"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    table, rows, _ = read(tmp_path / "labels.parquet")
    assert table.header == ["image", "barcode", "date", "many", "family"]
    assert rows == [["a.jpg", "12", "1854-03-01", "3", "Rosaceae"], ["b.jpg", "", "", "4", "Poaceae"]]


def test_workbooks_as_people_save_them(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="writes workbooks")
    pytest.importorskip("python_calamine", reason="reads workbooks")
    path = tmp_path / "labels.xlsx"
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Labels"
    sheet.append([])
    sheet.append(["image", "barcode", "date", None])
    sheet.append(["a.jpg", 12, datetime.datetime(1954, 3, 1)])
    sheet.append([])
    sheet.append(["b.jpg", None, datetime.datetime(1854, 3, 1)])  # as LibreOffice stores it; Excel cannot
    book.create_sheet("Notes")
    book.save(path)
    table, rows, reports = read(path)
    assert (table.kind, table.header) == ("workbook", ["image", "barcode", "date"])
    assert rows == [["a.jpg", "12", "1954-03-01"], ["b.jpg", "", ""]]
    assert {reason for _, reason, _ in reports} == {"blank"}
    book["Notes"].append(["read me"])
    book.save(path)
    with pytest.raises(ValueError, match=r"several sheets; choose one, e\.g\. sheet='Labels' of Labels, Notes"):
        read(path)
    assert read(path, Dialect(sheet="Labels"))[1] == rows
    with pytest.raises(ValueError, match="no sheet 'Label'; the sheets are 'Labels', 'Notes'"):
        read(path, Dialect(sheet="Label"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cannot be read as a workbook .*save it as CSV"):
        read(path)


def test_a_workbook_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("python_calamine", reason="reads workbooks")
    write_workbook(tmp_path / "labels.xlsx")
    monkeypatch.setattr("herbray.data.tabular.workbook.MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"0\.0 GB when unpacked; save it as CSV"):
        read(tmp_path / "labels.xlsx")


def test_damaged_parquet_and_a_file_of_another_encoding_are_reported(tmp_path):
    (tmp_path / "a").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="a: cannot be read as Parquet"):
        read(tmp_path / "a")
    (tmp_path / "b").write_bytes("\ufeffimage,genus\na,A\n".encode("utf-16") + b"\x00")
    with pytest.raises(ValueError, match=r"b: not utf-16 .*name the encoding"):
        read(tmp_path / "b")


def test_names_of_columns_are_folded_and_proposed():
    assert fold("\ufeffSpecimen ID ") == fold("specimen-id") == "specimen_id"
    assert fold("Ｇenus") == "genus"
    assert propose("image", ["genus", "File Name"]) == "File Name"
    assert propose("species", ["x", "scientificName"]) == "scientificName"
    assert propose("institution", ["Instituton"]) == "Instituton"
    assert propose("gathering", ["x"]) is None
