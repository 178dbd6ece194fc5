import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.data.sources.darwin_core.archive import records
from herbray.data.sources.darwin_core.archive.layout import Dialect
from herbray.data.sources.darwin_core.archive.records import split_records

TABS = Dialect("\t", "")
COMMAS = Dialect(",", '"')


def split(data, dialect, width=1, piece=7):
    """Records and refusals of a file that comes in small pieces."""
    refused = []
    data = data.encode() if isinstance(data, str) else data
    chunks = (data[i : i + piece] for i in range(0, len(data), piece))
    found = list(split_records(chunks, dialect, width, lambda *row: refused.append(row[:2])))
    return found, refused


@pytest.mark.parametrize(
    ("data", "dialect", "rows"),
    [
        ("a\tb\n1\t2\n", TABS, [["a", "b"], ["1", "2"]]),
        ('a\t"b\n1\t2"\n', TABS, [["a", '"b'], ["1", '2"']]),
        ("a,b\r\n1,2", COMMAS, [["a", "b"], ["1", "2"]]),
        ('a,b\n"1,5","x ""y"""\n', COMMAS, [["a", "b"], ["1,5", 'x "y"']]),
        ('a,b\n"one\ntwo",3\n4,5\n', COMMAS, [["a", "b"], ["one\ntwo", "3"], ["4", "5"]]),
        ("a;'b;c'\n", Dialect(";", "'"), [["a", "b;c"]]),
        ("a,5\" wide\n", COMMAS, [["a", '5" wide']]),
        ("a,b\r1,2\r", Dialect(line_end="\r"), [["a", "b"], ["1", "2"]]),
        ("a,b\n\n1,\x85\u2028\n", COMMAS, [["a", "b"], ["1", "\x85\u2028"]]),
        ("\ufeffa,b\n".encode(), COMMAS, [["a", "b"]]),
        ("\ufeffa,b\nü,2\n".encode("utf-16-le"), Dialect(encoding="utf-16"), [["a", "b"], ["ü", "2"]]),
        ("a,ü\n".encode("latin-1"), Dialect(encoding="iso8859-1"), [["a", "ü"]]),
    ],
)  # fmt: skip
def test_records_of_each_dialect(data, dialect, rows):
    found, refused = split(data, dialect)
    assert ([fields for _, fields in found], refused) == (rows, [])


WIDE = ",".join("abcdefghijkl")


@pytest.mark.parametrize(
    ("data", "dialect", "kept", "refused"),
    [
        ("a\tb\n1\n2\t3\t4\n5\t6\n", TABS, [1, 4], [(2, "fields"), (3, "fields")]),
        (b"a\tb\nM\xfcller\t1\n5\t6\n", TABS, [1, 3], [(2, "encoding")]),
        ("a\tb\n1\0\t1\n5\t6\n", TABS, [1, 3], [(2, "nul")]),
        ('a,b\n"open,1\n2,3\n4,5\n', COMMAS, [1, 3, 4], [(2, "quotes")]),
        ('a,b\n"12\\" tall",1\n2,3\n', COMMAS, [1, 3], [(2, "quotes")]),
        ('a,b\n"x"y,1\n2,3\n', COMMAS, [1, 3], [(2, "quotes")]),
        (f'{WIDE}\n"5,{WIDE[2:]}\n{WIDE}\n"6",{WIDE[2:]}\n', COMMAS, [1, 3, 4], [(2, "quotes")]),
        (f'{WIDE}\n"5,{WIDE[2:]}\n6",{WIDE[2:]}\n{WIDE}\n', COMMAS, [1, 3, 4], [(2, "quotes")]),
    ],
)
def test_a_bad_record_is_refused_by_its_line_and_reading_goes_on_in_the_next(data, dialect, kept, refused):
    found, rejected = split(data, dialect)
    assert [line for line, _ in found] == kept
    assert rejected == refused


def test_a_mark_that_nothing_closes_costs_one_record_and_little_memory(monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 300)
    lines = [f"{number},plain" for number in range(200)]
    lines[3] = '3,"open'
    found, refused = split("\n".join(lines), COMMAS)
    assert refused == [(4, "quotes")]
    assert len(found) == 199


def test_a_line_without_end_is_refused_and_not_kept(monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 100)
    found, refused = split("a,b\n" + "x" * 5000 + "\n1,2\n" + "y" * 300, COMMAS, piece=64)
    assert [fields for _, fields in found] == [["a", "b"], ["1", "2"]]
    assert refused == [(2, "too_long"), (4, "too_long")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text('ab",\n \té', max_size=6), min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_a_csv_writer_wrote_comes_back(rows):
    text = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows)
    found, refused = split(text, COMMAS)
    assert ([fields for _, fields in found], refused) == (rows, [])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([TABS, COMMAS, Dialect(encoding="utf-16"), Dialect(line_end="\r")]))
def test_any_bytes_are_records_or_refusals(data, dialect):
    found, refused = split(data, dialect)
    lines = [line for line, _ in found] + [line for line, _ in refused]
    assert len(lines) == len(set(lines))
    assert len({len(fields) for _, fields in found}) <= 1
